"""Judging mutants: each in a process forked from one that has loaded what does not change, with the tests that concern
its source, until the first fails.

    killed      by a test, which is named
    hung        it used more processor time, or took longer, than the tests would
    crashed     the process died: of a signal, or without a word
    invalid     CUDA C that does not compile: no mutant, not counted
    survived    all its tests pass
"""
from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Callable, Iterable, Iterator, NamedTuple

from . import graph
from .rules import Mutant
from .sample import ROOT
from .tests import BY_NAME

WALL_SECONDS, MEMORY = 900, 16 << 30
PARTS = re.compile("_(backward|input|weight|gather|eval|update)$")           # of an op's name in a kernel's
NOT_COMPILED = "does not compile"
NOTHING_COLLECTED = 5
MOST_BY_NAME = 200                                   # tests of a file that holds those of all operations
QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")                  # plugins of pytest's are loaded already


class Verdict(NamedTuple):
    """What became of a mutant: an outcome from the list above, the test that told, what it said, processor seconds."""
    outcome: str
    killer: str = ""
    reason: str = ""
    seconds: float = 0.0


def load() -> None:
    """Load what all tests use and no mutant is in, so that processes forked from this one begin at once."""
    os.environ.update(OPENBLAS_NUM_THREADS="1", GOMP_SPINCOUNT="30000")
    for name in ("numpy", "numba", "pytest", "hypothesis.strategies", "ml_dtypes", "torch"):
        try:
            import_module(name)
        except ImportError:                          # its tests are skipped then
            continue
    graph.users()


def judge_all(mutants: Iterable[Mutant], tests_of: Callable, plant: Callable, jobs: int = 2,
              root: Path = ROOT, cpu_seconds: int = 300) -> Iterator[tuple[Mutant, Verdict]]:
    """Judge mutants, `jobs` at a time; (mutant, verdict) as they come.

    tests_of(file) -> paths of test files, from root; plant(mutant, folder) -> the names it reaches (plant.py);
    cpu_seconds: of one mutant, before it counts as hung.
    """
    waiting, running, killers = list(mutants)[::-1], {}, {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            case = _Case(mutant, tests_of(mutant.file), killers.setdefault(mutant.file, []), root, cpu_seconds)
            running[case.start(plant)] = case
        done, status, used = os.wait3(os.WNOHANG)
        if done in running:
            case = running.pop(done)
            verdict = case.verdict(status, used.ru_utime + used.ru_stime)
            if verdict.killer:
                killers[case.mutant.file] = [verdict.killer, *killers[case.mutant.file]][:20]
            yield case.mutant, verdict
        else:
            time.sleep(0.02)
            for pid, case in running.items():
                if time.monotonic() - case.started > WALL_SECONDS:
                    os.killpg(pid, signal.SIGKILL)


class _Case:
    """One mutant, and the process that looks for it."""

    def __init__(self, mutant, tests, killers, root, cpu_seconds):
        self.mutant, self.tests, self.killers, self.root = mutant, tests, killers, root
        self.cpu_seconds = cpu_seconds

    def start(self, plant):
        self.started, self.folder = time.monotonic(), tempfile.TemporaryDirectory(prefix="mutant-")
        pid = os.fork()
        if not pid:
            self._child(plant)
        return pid

    def _child(self, plant):
        """Never returns."""
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (self.cpu_seconds, self.cpu_seconds + 5))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            os.chdir(self.root)
            home = Path(self.folder.name)
            (home / "tmp").mkdir()
            tempfile.tempdir = str(home / "tmp")
            self._say(_run(self.tests, self.killers, plant(self.mutant, home)))
        except BaseException as error:
            self._say(Verdict("broken", reason=f"{type(error).__name__}: {error}"))
        finally:
            os._exit(0)

    def _say(self, verdict):
        (Path(self.folder.name) / "verdict").write_text(json.dumps(verdict), encoding="utf-8")

    def verdict(self, status, seconds):
        said = Path(self.folder.name) / "verdict"
        verdict = Verdict(*json.loads(said.read_text(encoding="utf-8"))) if said.exists() else _died(status)
        self.folder.cleanup()
        return verdict._replace(seconds=round(seconds, 1))


def _died(status):
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number in (signal.SIGXCPU, signal.SIGKILL):
        return Verdict("hung")
    return Verdict("crashed", reason=signal.Signals(number).name if number else "exit")


def _run(tests, killers, names):
    """Run test files in this process, what killed others of the file first."""
    pytest, hypothesis = import_module("pytest"), import_module("hypothesis")
    # A found example is enough; it need not be made small.
    hypothesis.settings.register_profile("judge", database=None, deadline=None,
                                         phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
                                         suppress_health_check=list(hypothesis.HealthCheck))
    hypothesis.settings.load_profile("judge")
    sys.path.insert(0, os.getcwd())
    passed = 0
    for file in tests:                               # one after the other: most mutants need the first file alone
        plugin = _Plugin(killers, names)
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--tb=line", *QUIET, file], plugins=[plugin])
        if plugin.failed:
            killer, reason = plugin.failed
            return Verdict("invalid" if NOT_COMPILED in reason else "killed", killer, reason[:300])
        if code not in (0, NOTHING_COLLECTED):
            return Verdict("killed", file, "pytest cannot begin: what it imports fails")
        passed += plugin.passed
    return Verdict("survived", reason=f"{passed} tests")


class _Plugin:
    """Orders the tests, and remembers the first that fails."""

    def __init__(self, killers, names):
        self._order = {test: i for i, test in enumerate(killers)}
        nearest = dict.fromkeys(part for name in names for part in (name, PARTS.sub("", name)))
        self._names = re.compile("|".join(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])" for name in nearest))
        self.failed, self.passed = None, 0

    def pytest_collection_modifyitems(self, items):
        if items and items[0].path.name in BY_NAME:
            named = [item for item in items if "[" in item.nodeid and self._names.search(item.nodeid)]
            alone = [item for item in items if "[" not in item.nodeid]
            items[:] = named[::-(-len(named) // MOST_BY_NAME) or 1] + alone
        items.sort(key=lambda item: self._order.get(item.nodeid, len(self._order)))

    def pytest_collectreport(self, report):
        if report.failed and not self.failed:
            self.failed = report.nodeid, str(report.longrepr)[-300:]

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.failed:
            text = str(report.longrepr)
            self.failed = report.nodeid, NOT_COMPILED if NOT_COMPILED in text else " ".join(text.split())[:300]
        self.passed += report.when == "call" and report.passed
