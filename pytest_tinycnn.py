"""pytest --gradcheck: the gradient checks among the tests.

    from tinycnn.gradcheck import Check, with_backward

    check_softplus = Check(with_backward(softplus, softplus_backward), [x])       # collected with --gradcheck

    def test_softplus(gradcheck):                    # skipped without --gradcheck
        gradcheck(with_backward(softplus, softplus_backward), [x])

A Check is found in any test file, under any name.  The fixture is tinycnn.gradcheck.gradcheck, which says what is wrong
about a gradient.  At the end the worst error is told, and how often inputs lay at kinks and were moved.

Part of every pytest run where tinycnn is installed, so it loads nothing, not even NumPy, before a check is there;
`-p no:pytest_tinycnn` leaves it out.
"""
import sys

import pytest


def pytest_addoption(parser):
    """The option --gradcheck."""
    parser.getgroup("tinycnn").addoption("--gradcheck", action="store_true",
                                         help="run gradient checks: every Check and the fixture `gradcheck`")


def pytest_pycollect_makeitem(collector, name, obj):
    """A Check in a test file is an item; without --gradcheck none."""
    module = sys.modules.get("tinycnn.gradcheck")    # without it, obj can be no Check
    if module and type(obj) is module.Check and collector.config.getoption("gradcheck"):
        return CheckItem.from_parent(collector, name=name, check=obj)
    return None


class CheckItem(pytest.Item):
    """A Check as a test."""

    def __init__(self, *, check, **others):
        super().__init__(**others)
        self.check = check

    def runtest(self):
        """Run the check; raises GradcheckError for a wrong gradient."""
        _told(self.check.run(), self)

    def repr_failure(self, excinfo):
        """What is wrong about the gradient, without the checker's own lines."""
        from tinycnn.gradcheck import GradcheckError
        return str(excinfo.value) if isinstance(excinfo.value, GradcheckError) else super().repr_failure(excinfo)

    def reportinfo(self):
        """File, line (unknown) and title of a report."""
        return self.path, None, f"gradcheck: {self.name}"


@pytest.fixture
def gradcheck(request):
    """tinycnn's gradcheck(func, inputs, ...) -> a Report; the test is skipped without --gradcheck."""
    if not request.config.getoption("gradcheck"):
        pytest.skip("a gradient check: run with --gradcheck")
    from tinycnn.gradcheck import Check

    def check(func, inputs, **options):
        __tracebackhide__ = True
        return _told(Check(func, inputs, **options).run(), request.node)
    return check


def pytest_terminal_summary(terminalreporter, config):
    """How many checks ran, and how well they came out."""
    if not config.getoption("gradcheck"):
        return
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind) if r.when == "call"]
    found = [value for r in reports for key, value in r.user_properties if key == "gradcheck"]
    right = [f for f in found if f["ok"]]
    if found:
        exact = sum(f["method"] == "complex" for f in right)
        terminalreporter.write_line(
            f"gradcheck: {len(right)} of {len(found)} right, {exact} of them by complex steps, worst error "
            f"{max((f['error'] for f in right), default=0):.1e}; {sum(f['moved'] for f in found)} times an input lay "
            "at a kink and was moved")


def _told(report, node):
    """The report, told to whoever reads those of pytest.  Raises GradcheckError if a gradient is wrong."""
    __tracebackhide__ = True
    node.user_properties.append(("gradcheck", {"ok": report.ok, "method": report.method, "error": report.error,
                                               "moved": len(report.moved)}))
    if not report:
        from tinycnn.gradcheck import GradcheckError
        raise GradcheckError(report.message)
    return report
