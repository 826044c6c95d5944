"""The mutation run (benchmarks/mutants): its rules, its sample, and how it judges; a part of it in the slow run."""
import json
import subprocess
import sys
from collections import Counter

import pytest

from benchmarks.mutants import graph, report, rules, sample, tests

if sys.platform == "win32":
    pytest.skip("mutants are judged in forked processes", allow_module_level=True)


def changes(line, file="a.py"):
    """What the rules make of a line."""
    return {m.applied(line) for m in rules.mutants(file, line) if rules.parses(m, line)}


@pytest.mark.parametrize("line, expected", [
    ("a < b", {"a <= b"}),
    ("x = a + b * c", {"x = a - b * c", "x = a ", "x = a + b / c", "x = a + b "}),
    ("x = -a", {"x = a"}),
    ("f(*a, x)", set()),
    ("x = f(a, b[0])", {"x = f(b[0], a)", "x = f(a, b[1])"}),
    ("f(a, key=b)", set()),
    ("x = 1", {"x = 0", "x = 2"}),
    ("x = 0.5", {"x = 1.5"}),
    ("KH = a // KW", {"KW = a // KW", "KH = a * KW", "KH = a // KH"}),
    ("KH = 2", {"KH = 3"}),                          # a name whose partner is nowhere stays
    ("if not a and b is None: pass", {"if a and b is None: pass", "if not a or b is None: pass",
                                      "if not a and b is not None: pass"}),
    ("x = min(a, b)", {"x = max(a, b)"}),
    ("'a < b'  # c < d", set()),
    ("from a import b, c", set()),
    ("def f(x: int = 1): pass", {"def f(x: int = 0): pass", "def f(x: int = 2): pass"}),
])
def test_the_rules_of_python(line, expected):
    assert changes(line) == expected


@pytest.mark.parametrize("line, expected", [
    ("for (int i = 0; i < n; i++)", {"for (int i = 1; i < n; i++)", "for (int i = 0; i <= n; i++)"}),
    ("template <typename T> void f(const T *x, int n)", set()),
    ("Wide<T> d = x[i] - m;", {"Wide<T> d = x[i] + m;", "Wide<T> d = x[i] ;"}),
    ("if (!a && b) return;  // c < d", {"if (a && b) return;  // c < d", "if (!a || b) return;  // c < d"}),
    ("#pragma unroll 4", set()),
    ("y = a ? x * 2 : x;", {"y = a ? x / 2 : x;", "y = a ? x  : x;", "y = a ? x * 3 : x;"}),
])
def test_the_rules_of_cuda(line, expected):
    assert changes(line, "a.cu") == expected


def test_mutants_have_names_of_their_own_and_keep_them_when_lines_are_added():
    text = "x = 1\ny = x + x + x\n"
    found, later = rules.mutants("a.py", text), rules.mutants("a.py", "import b\n\n" + text)
    assert found[0].name == "a.py:1 '1' -> '2'"
    assert len({m.name for m in found}) == len({m.key for m in found}) == len(found)
    assert [m.key for m in found] == [m.key for m in later]
    assert {m.line for m in later} == {3, 4}


@pytest.mark.slow
def test_the_sample_is_spread_and_the_same_each_time():
    drawn = {group: sample.sample(group) for group in sample.GROUPS}
    assert sum(map(len, drawn.values())) >= 300
    for group, found in drawn.items():
        assert {m.file for m in found} == set(sample.files(group))
        assert max(Counter((m.file, m.line) for m in found).values()) <= sample.MOST_OF_A_LINE
        assert found == sample.sample(group)
        assert all(tests.tests_of(file) for file in sample.files(group))
    assert not set(drawn["ops"]) <= set(sample.sample("ops", seed=1))


def test_what_is_compiled_anew():
    def at(file, text):
        line = sample.text_of(file)[:sample.text_of(file).index(text)].count("\n") + 1
        return graph.reached(rules.Mutant(file, line, 0, 0, "", "", ""))
    vectors = at("kernels/cpu/vector.py", "return BYTES //")
    assert vectors["kernels/cpu/vector.py", "lanes"] == 0
    assert vectors["kernels/cpu/band.py", "banded"] == 1 and ("kernels/cpu/conv.py", "conv2d") in vectors
    assert ("kernels/cpu/max_pool.py", "_scatter") not in vectors
    pools = at("kernels/cpu/max_pool.py", "more = before + g[c]")
    assert set(pools) == {("kernels/cpu/max_pool.py", name) for name in ("_take", "_collect", "max_pool2d_backward")}
    exponential = at("kernels/cpu/exponential.py", "r = (x - n * HIGH64)")
    assert ("kernels/cpu/gates.py", "gate") in exponential           # by @overload
    assert ("kernels/cpu/max_pool.py", "_scatter") not in exponential
    constants = at("kernels/reference/random.py", "GOLDEN, MIX1")
    assert ("kernels/cpu/random.py", "dropout") in constants


@pytest.mark.slow
def test_arguments_stand_beside_mutants_that_exist():
    every = {m.key for group in sample.GROUPS for file in sample.files(group)
             for m in rules.mutants(file, sample.text_of(file))}
    assert not set(report.EQUIVALENT) - every
    assert all(len(reason) > 20 for reason in report.EQUIVALENT.values())


TOY = """
import os, signal

def count(n):
    i = 0
    while i < n:
        i += 1
    return i + 0

def ended(x):
    if x > 3: os.kill(os.getpid(), signal.SIGSEGV)
    return len("no mutant in here: 1 < 2")
"""
TOY_TEST = """
import toy

def test_three():
    assert toy.count(3) == 3

def test_end():
    assert toy.ended(3)
"""
JUDGE = """
import json, sys
from pathlib import Path
from benchmarks.mutants.judge import judge_all
from benchmarks.mutants.plant import hand_out
from benchmarks.mutants.rules import mutants
root = Path(sys.argv[1])
def plant(mutant, folder):
    hand_out(mutant, "toy", root / "toy.py")
    return {""}
found = mutants("toy.py", (root / "toy.py").read_text())
judged = judge_all(found, lambda file: ["test_toy.py"], plant, root=root, cpu_seconds=3)
print(json.dumps({mutant.name: verdict[:2] for mutant, verdict in judged}))
"""


@pytest.mark.slow
def test_a_toy_is_judged(tmp_path):
    """Killed, hung, crashed, and survived: what is dropped, 0, changes nothing."""
    (tmp_path / "toy.py").write_text(TOY.lstrip())
    (tmp_path / "test_toy.py").write_text(TOY_TEST)
    done = subprocess.run([sys.executable, "-c", JUDGE, str(tmp_path)], cwd=sample.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout.splitlines()[-1])
    three = "test_toy.py::test_three"
    assert verdicts["toy.py:5 '<' -> '<='"] == verdicts["toy.py:7 '0' -> '1'"] == ["killed", three]
    assert verdicts["toy.py:6 '+=' -> '-='"] == verdicts["toy.py:6 '1' -> '0'"] == ["hung", ""]
    assert verdicts["toy.py:10 '>' -> '>='"] == ["crashed", ""]
    assert verdicts["toy.py:7 '+ 0' -> ''"] == ["survived", ""]
    assert (tmp_path / "toy.py").read_text() == TOY.lstrip()


def test_what_is_reported():
    found = sample.sample("reference")[:4]
    outcomes = dict(zip((m.key for m in found), map(report.Verdict, ("killed", "hung", "invalid", "survived"))))
    result = report.summary({"reference": found}, outcomes, 0)
    assert result["all"]["mutants"] == 3 and result["all"]["killed"] == result["all"]["hung"] == 1
    assert result["survivors"] == [found[3].name]
    assert result["killed_of_those_that_can_be"] == pytest.approx(2 / 3, abs=1e-4)
    assert found[3].name in report.printed(result)


@pytest.mark.slow
def test_nearly_all_are_killed(tmp_path):
    """A few of each source; the whole sample: python -m benchmarks.mutants"""
    path = tmp_path / "found.json"
    subprocess.run([sys.executable, "-m", "benchmarks.mutants", "--count", "20", "--json", str(path), "--kept",
                    str(tmp_path / "kept.jsonl")], cwd=sample.ROOT, check=False)
    found = json.loads(path.read_text())
    assert found["all"]["broken"] == found["all"]["not_judged"] == 0
    assert found["killed_of_those_that_can_be"] >= 0.99, found["survivors"]
