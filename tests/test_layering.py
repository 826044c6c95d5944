"""Imports may only point down this list.  A file that breaks the rule is named, with the import."""
import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEVICES = ("cpu", "cuda", "cuda-emu", "cupy", "cupy_on_cpu")        # and the libraries of their arrays
NO_BRANCHES = {                     # file: how often it names a device without telling devices apart by it
    "tinycnn/__init__.py": 1,       # a submodule
    "tinycnn/cli/checking.py": 1,   # a line of the report
    "tinycnn/methods.py": 1,        # repr leaves out the usual device, as PyTorch's
}
MAY_IMPORT = {                      # layer: the tinycnn layers it may import (itself always)
    "kernels": set(),
    "_checkout": set(),
    "dtypes": set(),
    "backend": {"dtypes", "kernels"},
    "autocast": {"backend", "dtypes"},
    "methods": {"autocast", "backend"},
    "recording": {"backend", "methods"},
    "callers": {"recording"},
    "anomaly": {"backend", "callers", "dtypes", "methods", "recording"},
    "walk": {"methods", "recording"},
    "autograd": {"anomaly", "autocast", "backend", "callers", "dtypes", "methods", "recording", "walk"},
    "formulas": {"methods"},
    "explain": {"autograd", "backend", "callers", "formulas", "methods"},
    "graph": {"autograd", "explain", "io", "methods"},
    "amp": {"autocast", "autograd", "backend"},
    "random": set(),
    "ops": {"dtypes", "autograd", "backend", "methods", "random"},
    "derivatives": {"autograd", "backend", "methods"},
    "gradcheck": {"dtypes", "autograd", "backend", "random"},
    "cuda": {"autograd", "backend", "recompute"},
    "distributed": {"autograd", "backend", "dtypes"},
    "recompute": {"autograd", "backend", "random", "walk"},
    "cases": {"autograd", "backend", "derivatives", "dtypes", "gradcheck", "methods", "models", "nn"},
    "conformance": {"autograd", "backend", "io", "methods", "nn"},
    "nn": {"autocast", "autograd", "backend", "dtypes", "methods", "ops", "random"},
    "optim": {"autograd", "backend"},
    "data": {"backend"},
    "io": {"autograd", "backend"},
    "models": {"autograd", "nn", "ops", "random", "recompute", "summary"},
    "summary": {"dtypes", "autograd", "nn", "ops"},
    "train": {"amp", "autograd", "backend", "data", "io", "models", "nn", "ops", "optim", "random"},
    "cli": {"autograd", "backend", "cases", "conformance", "data", "gradcheck", "io", "models", "nn", "random",
            "summary", "train"},
    "__main__": {"cli"},
}


def layer(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imports(path, module):
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
            yield from (".".join(filter(None, [*base, node.module, a.name])) for a in node.names)


def named(path):
    parts = ("tinycnn", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[1:] if parts[1] == "tinycnn" else parts).removesuffix(".__init__")


FILES = {p: named(p) for folder in ("tinycnn", "kernels") for p in (ROOT / folder).rglob("*.py")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    me = layer(FILES[path])
    if not me:
        return                                                  # tinycnn/__init__.py may see everything
    for name in imports(path, FILES[path]):
        if name.startswith("tinycnn.") and layer(name) != me:
            other = layer(name)
            if other not in MAY_IMPORT and me in ("cases", "cli", "summary", "train"):
                continue                                        # a name of tinycnn/__init__.py itself
            assert other in MAY_IMPORT[me], f"{path.relative_to(ROOT)} ({me}) imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_read_can_run_code_and_devices_have_one_place(path):
    source, name = path.read_text(), str(path.relative_to(ROOT))
    tree = ast.parse(source)
    calls = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
    assert not {f.id for f in calls if isinstance(f, ast.Name)} & {"eval", "exec", "compile", "__import__"}, name
    assert not {f.attr for f in calls if isinstance(f, ast.Attribute)} & {"extractall", "extract"}, name
    assert not {n.split(".")[0] for n in imports(path, FILES[path])} & {"pickle", "marshal", "shelve"}, name
    assert "allow_pickle=True" not in source and "shell=True" not in source, name
    if not name.startswith("kernels") and name != "tinycnn/backend.py":
        assert not re.search(r"import cupy|device == ", source), f"{name} branches on the device"
        found = branches(tree)
        assert len(found) == NO_BRANCHES.get(name, 0), f"{name} may branch on the device in one of the lines {found}"


def branches(tree):
    """Lines that name a device or its library elsewhere than as a call's argument or a default."""
    plain = set()                                       # the constants that only hand a device on
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Attribute) and node.func.attr in ("startswith", "endswith", "__eq__")):
                plain |= {*node.args, *(k.value for k in node.keywords)}
        elif isinstance(node, ast.arguments):
            plain |= {*node.defaults, *node.kw_defaults}
        elif isinstance(node, ast.AnnAssign):           # of a dataclass
            plain.add(node.value)
    plain |= {v for node in plain if isinstance(node, ast.BoolOp) for v in node.values}       # f(device or "cpu")
    return [node.lineno for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value in DEVICES and node not in plain]


@pytest.mark.parametrize("code, lines", [
    ('if x == "cuda": pass', [1]), ('y = {"cuda-emu": 1}', [1]), ('x in ("cpu", "cuda")', [1, 1]), ('a["cupy"]', [1]),
    ('x.startswith("cuda")', [1]), ('match x:\n case "cuda": pass', [2]), ('name = "cupy_on_cpu"', [1]),
    ('x.to("cuda")\nf(device="cpu")\ndef f(device="cuda"): "on cuda"', []), (
        'f(device or "cpu")\ndevice: str = "cpu"', []), ('help("cpu or cuda")', []),
])
def test_branches_are_found(code, lines):
    assert branches(ast.parse(code)) == lines


def test_no_asserts_guard_input():
    """python -O removes them."""
    for path in FILES:
        found = [n.lineno for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)]
        assert not found, f"{path.relative_to(ROOT)}: assert in line {found}"
