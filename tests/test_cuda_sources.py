"""Rules that the CUDA sources keep, read off their text: what may be included, where asm may be, who launches what."""
import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import tinycnn  # noqa: F401

launch = import_module("tinycnn.kernels.cuda.launch")
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "kernels" / "cuda"
SOURCES = sorted([*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh")])
WRAPPERS = sorted(FOLDER.glob("*.py"))
ATOMICS = {}                        # file: the atomic functions it may call.  On floats: none, results would differ
each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)


def code(text):
    """A source without its comments and the insides of its strings."""
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', lambda m: '""' if m[0][0] == '"' else "", text,
                  flags=re.S)


def violations(name, text):
    """What a source does that none should."""
    plain = code(text)
    included = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M)
    own = {p.name for folder in (FOLDER, FOLDER.parent / "emulator") for p in folder.glob("*.*h")}
    wrong = [f"includes {header}" for header in included if header not in own]
    if name != "tc.cuh" and re.search(r"\b(asm|__asm__)\b", plain):
        wrong.append("has asm: only tc.cuh may")
    wrong += [f"calls {f}" for f in re.findall(r"\b(atomic\w+)\s*\(", plain) if f not in ATOMICS.get(name, ())]
    wrong += [f"uses {word}: the emulator has none" for word in re.findall(
        r"\b(printf|malloc|new|goto|__nanosleep|cooperative_groups|thrust|cub)\b", plain)]
    wrong += [f"{word}: full precision only" for word in re.findall(
        r"\b(__(?:exp|exp10|log|log2|log10|sin|cos|tan|pow)f|__fdividef)\s*\(", plain)]
    wrong += [f"line {i} is longer than 120" for i, line in enumerate(text.splitlines(), 1) if len(line) > 120]
    return wrong


@each_source
def test_a_source_keeps_the_rules(path):
    assert not violations(path.name, path.read_text())


@pytest.mark.parametrize("text, message", [
    ("#include <cuda_fp16.h>", "includes cuda_fp16.h"), ('#include "other.cuh"', "includes other.cuh"),
    ('int f() { asm("exit;"); }', "has asm: only tc.cuh may"), ("atomicAdd(p, 1.f);", "calls atomicAdd"),
    ("atomicAdd_block (p, 1.f);", "calls atomicAdd_block"), ('printf("x");', "uses printf: the emulator has none"),
    ("y = __expf(x);", "__expf: full precision only"), ("//" + "-" * 119, "line 1 is longer than 120"),
])
def test_violations_are_found(text, message):
    assert violations("a.cu", text) == [message]
    assert not violations("a.cu", "// asm atomicAdd( printf\n" + '#include "common.cuh"\n')


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.cu")), ids=lambda p: p.name)
def test_a_file_opens_with_layout_and_parallelisation(path):
    opening = re.match(r"(?://[^\n]*\n)+", path.read_text())
    assert opening and re.search(r"^// Layout  ", opening[0], re.M) and re.search(r"^// Parallel  ", opening[0], re.M)


def test_there_is_not_more_cuda_than_can_be_read():
    assert sum(len(path.read_text().splitlines()) for path in SOURCES) <= 3000


# ---------------------------------------------------------------------------------------- launches

def calls(name):
    """(wrapper, call) of every call of a function of that name in the wrappers."""
    return [(path, node) for path in WRAPPERS for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name]


def named_file(path, node):
    """The source that a call of launch names: as text, or by the wrapper's FILE."""
    if isinstance(node, ast.Constant):
        return node.value
    (value,) = re.findall(r'^FILE(?:, \w+)* = "([^"]+)"', path.read_text(), re.M)
    assert isinstance(node, ast.Name) and node.id == "FILE"
    return value


def test_every_kernel_is_launched_by_a_wrapper():
    """Its name stands in a wrapper that launches kernels of its file."""
    names = {path: {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
             for path in WRAPPERS}
    users = {}
    for path, call in calls("launch"):
        users.setdefault(named_file(path, call.args[0]), set()).add(path)
    assert sorted(users) == sorted(p.name for p in FOLDER.glob("*.cu"))
    for file, wrappers in users.items():
        for kernel in launch.declared(file):
            assert any(kernel in names[path] for path in wrappers), f"{file}: nothing launches {kernel}"


def test_launches_name_kernels_that_are_there_and_hand_over_what_they_take():
    checked = 0
    for path, call in calls("launch"):
        kernels, kernel, arguments = launch.declared(named_file(path, call.args[0])), call.args[1], call.args[4]
        if isinstance(kernel, ast.Constant):
            parameters = kernels[kernel.value].parameters
            if isinstance(arguments, ast.Tuple) and not any(isinstance(a, ast.Starred) for a in arguments.elts):
                assert len(arguments.elts) == len(parameters), f"{path.name}, line {call.lineno}: {kernel.value}"
                checked += 1
    assert checked > 5


@pytest.mark.parametrize("path", sorted(p for folder in ("tinycnn", "kernels") for p in (ROOT / folder).rglob("*.py")),
                         ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_goes_past_launch(path):
    """No other way to a kernel than kernels/cuda/launch.py and what compiles for it."""
    ways = {"RawKernel", "RawModule", "ElementwiseKernel", "ReductionKernel", "fuse", "jit"}
    found = {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)} & ways
    assert found <= ({"RawModule"} if path == FOLDER / "compiler.py" else set())
