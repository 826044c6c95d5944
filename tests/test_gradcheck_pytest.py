"""pytest --gradcheck, from this checkout, as other packages would use it."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = "pytester"
ROOT = Path(__file__).parents[1]
PLUGIN = ("-p", "pytest_tinycnn", "-p", "no:cacheprovider", "-W", "error")
SUITE = """
import numpy as np
from tinycnn.gradcheck import Check, torch_function, with_backward

x = np.array([0.0, 0.5, -2.0])
wrong = with_backward(np.tanh, lambda g, x: g * (1 - np.tanh(x)))
right = with_backward(np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2))
check_right = Check(right, [x])
check_kink = Check(with_backward(lambda x: np.maximum(x, 0), lambda g, x: g * (x > 0)), [x])
check_wrong = Check(wrong, [x])
check_broken = Check(with_backward(lambda x: x.no_such_method(), lambda g, x: g), [x])

def test_fixture_right(gradcheck):
    assert gradcheck(right, x).method == "complex"

def test_fixture_wrong(gradcheck):
    gradcheck(wrong, x)

def test_plain():
    pass
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(test_theirs=SUITE)
    return pytester


def test_without_the_option_nothing_is_checked(suite):
    suite.runpytest(*PLUGIN).assert_outcomes(passed=1, skipped=2)


def test_with_the_option_all_is(suite):
    done = suite.runpytest(*PLUGIN, "--gradcheck", "-v")
    done.assert_outcomes(passed=4, failed=3)
    text = done.stdout.str()
    done.stdout.fnmatch_lines(["*::check_right PASSED*", "*::check_kink PASSED*", "*::check_wrong FAILED*",
                               "*::test_fixture_wrong FAILED*"])
    assert text.count("gradient wrong of tanh(): d output 0[1] / d input 0[1]: backward says 0.5378828427") >= 2
    assert "gradcheck: 3 of 5 right, 2 of them by complex steps, worst error" in text
    assert "1 times an input lay at a kink and was moved" in text
    assert "no_such_method" in text                  # what is no verdict keeps its traceback
    assert "explain.py" not in text and "compare.py" not in text


def test_it_needs_numpy_alone(suite):
    """In a process where numba and torch cannot be imported."""
    suite.makeconftest("import sys\nsys.modules.update(numba=None, torch=None)")
    done = suite.runpytest_subprocess(*PLUGIN, "--gradcheck", "-k", "right or kink or plain")
    done.assert_outcomes(passed=4, deselected=3)


def test_it_loads_nothing_before_a_check_is_there(tmp_path):
    code = "import pytest_tinycnn, sys; print({'numpy', 'tinycnn', 'numba'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_other_suites_are_left_alone(suite):
    """Also those with a fixture or a marker of that name."""
    suite.makepyfile(test_theirs="""
        import pytest

        @pytest.fixture
        def gradcheck():
            return "theirs"

        @pytest.mark.gradcheck
        def test_theirs(gradcheck):
            assert gradcheck == "theirs"
    """)
    suite.makeini("[pytest]\nmarkers =\n  gradcheck: theirs\n")
    suite.runpytest(*PLUGIN).assert_outcomes(passed=1)


def test_it_can_be_left_out(suite):
    done = suite.runpytest_subprocess("-p", "no:pytest_tinycnn", "--gradcheck")
    assert done.ret == pytest.ExitCode.USAGE_ERROR and "unrecognized arguments: --gradcheck" in done.stderr.str()
