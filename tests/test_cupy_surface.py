"""What the code for GPUs asks of CuPy is there: without a GPU, from CuPy's names and parameters (emulator/surface.py).

The stand-in checks what tests run; here the sources are read, so that lines that no test runs are checked, too.
"""
import ast
from importlib import import_module
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import tinycnn as tc

surface = import_module("tinycnn.kernels.emulator.surface")
device = import_module("tinycnn.kernels.emulator.device")
ROOT = Path(tc.__file__).parents[1]
SOURCES = sorted(p for folder in ("tinycnn/ops", "tinycnn/optim", "tinycnn/nn", "tinycnn/train", "kernels/reference",
                                  "kernels/cuda") for p in (ROOT / folder).rglob("*.py"))
SOURCES += [*sorted((ROOT / "tinycnn").glob("*.py")), *sorted((ROOT / "kernels").glob("*.py"))]
# methods that NumPy's and CuPy's arrays share, with arguments that differ or names that nothing else has
METHODS = {"max", "min", "sum", "mean", "var", "std", "prod", "any", "all", "argmax", "argmin", "argsort", "astype",
           "cumsum", "cumprod", "transpose", "swapaxes", "nonzero", "ravel", "tobytes"}
UFUNCS = surface.known()["ufuncs"]
HOST_ONLY = {"gradcheck.py"}                         # works on NumPy arrays alone
NOT_REACHED = {"frompyfunc"}                         # reference/math.py: erf of what is no float
NOT_CUPYS = {"gemmEx", "gemmStridedBatchedEx", "handle"}                  # cuda/blas.py: of the library cuBLAS


def _is_library(node):
    """xp.name, library.name, array_module(...).name"""
    return isinstance(node, ast.Name) and node.id in ("xp", "library", "cupy") or isinstance(node, ast.Call) and \
        getattr(node.func, "id", "") == "array_module"


def _uses(path):
    """(line, table of the surface, name, keywords) of what a file asks of the array library, and of arrays."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    keywords = {n.func: [k.arg for k in n.keywords if k.arg] for n in ast.walk(tree) if isinstance(n, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            inner = node.value
            if _is_library(inner):
                yield node.lineno, "functions", node.attr, keywords.get(node, ())
            elif isinstance(inner, ast.Attribute) and _is_library(inner.value) and inner.attr in UFUNCS:
                yield node.lineno, "ufuncs", (inner.attr, node.attr), ()
            elif node in keywords and node.attr in METHODS and getattr(inner, "id", "") != "np":
                yield node.lineno, "methods", node.attr, keywords[node]


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name not in HOST_ONLY],
                         ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_what_is_asked_of_cupy_is_there(path):
    for line, table, name, keywords in _uses(path):
        try:
            if table == "ufuncs":
                surface.check_ufunc(*name, np.dtype("float32"))
            elif name not in NOT_REACHED | NOT_CUPYS and not name.startswith("_"):
                surface.check(table, name, [k for k in keywords if k not in ("dim", "keepdim")])        # a Tensor's
        except (AttributeError, TypeError, NotImplementedError) as error:
            pytest.fail(f"{path.relative_to(ROOT)}:{line}: {error}")


def test_the_sources_are_found_and_read():
    uses = {(table, name) for path in SOURCES for _, table, name, _ in _uses(path)}
    assert {("functions", "where"), ("methods", "argsort"), ("ufuncs", ("add", "at"))} <= uses and len(uses) > 60


@pytest.mark.parametrize("wrong, error", [
    (lambda xp, x: x.max(0, initial=0.0), TypeError), (lambda xp, x: x.sum(where=True), TypeError),
    (lambda xp, x: xp.add(x, x, where=x > 0), TypeError), (lambda xp, x: xp.frompyfunc(float, 1, 1), AttributeError),
    (lambda xp, x: x.newbyteorder(), AttributeError), (lambda xp, x: xp.logical_and.accumulate(x), NotImplementedError),
    (lambda xp, x: xp.maximum.reduce(x), NotImplementedError), (lambda xp, x: x * np.ones(3, np.float32), TypeError),
    (lambda xp, x: x + np.array(1.0), TypeError), (lambda xp, x: xp.multiply.at(x, 0, x[0]), NotImplementedError),
    (lambda xp, x: xp.add.at(x.astype(ml_dtypes.bfloat16), 0, 1.0), TypeError),
    (lambda xp, x: x.astype(ml_dtypes.bfloat16).argsort(), TypeError),
    (lambda xp, x: x.astype(ml_dtypes.bfloat16).clip(0, 1), TypeError)])
def test_the_stand_in_refuses_what_cupy_refuses(wrong, error):
    xp = device.install()
    x = xp.asarray(np.arange(3, dtype=np.float32))
    with pytest.raises(error):
        wrong(xp, x)


def test_the_committed_surface_is_that_of_the_installed_cupy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: its surface is taken from cupy_surface.json")
    if cupy.__version__ != surface.known()["version"]:
        pytest.skip(f"CuPy {cupy.__version__} is installed, cupy_surface.json describes {surface.known()['version']}")
    assert surface.of(cupy) == surface.known()


def test_what_kernels_cuda_names_of_cupys_runtime_is_there():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: cupy.cuda is not looked into")
    chains = {ast.unparse(node) for path in SOURCES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
              if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("cupy.")}
    assert len(chains) > 15
    for chain in chains:
        found = cupy
        for name in chain.split("(")[0].split(".")[1:]:
            found = getattr(found, name)


@pytest.mark.parametrize("function", [
    lambda x, s: x * s, lambda x, s: s - x, lambda x, s: x ** s, lambda x, s: s ** x, lambda x, s: tc.maximum(x, s),
    lambda x, s: tc.clamp(x, s, None), lambda x, s: tc.where(x > 1, x, s), lambda x, s: tc.lerp(x, x * 2, s)])
def test_a_number_in_a_tensor_on_the_host_combines_with_tensors_of_the_gpu(function):
    """As torch lets it; CuPy takes scalars, but no NumPy array, be it without dimensions."""
    results = []
    for where in ("cpu", "cuda-emu"):
        x = tc.Tensor(np.linspace(0.5, 2, 6, dtype=np.float32).reshape(2, 3)).to(where).requires_grad_()
        y = function(x, tc.tensor(1.25))
        y.sum().backward()
        assert y.device == x.grad.device == where
        results.append((y.detach().cpu().numpy(), x.grad.cpu().numpy()))
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("function", [
    lambda x: x + x, lambda x: x * 2, lambda x: x - x[:, :, :1, :1], lambda x: x / x[:1, :, :1, :1], lambda x: -x,
    lambda x: tc.where(x > 0, x, 0.0), lambda x: tc.cat([x, x], 1), tc.sigmoid, tc.tanh, tc.exp,
    tc.nn.functional.leaky_relu, tc.nn.functional.hardswish, tc.nn.functional.silu, tc.nn.functional.gelu,
    tc.nn.functional.elu, tc.nn.functional.relu6])
def test_elementwise_functions_keep_images_channels_last_as_cupy_by_itself_does_not(function):
    values = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32).transpose(0, 3, 1, 2)
    x = tc.Tensor(device.install().asarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), requires_grad=True)
    y, there = function(x), function(tc.Tensor(values))
    assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous and not y.data.flags.c_contiguous
    np.testing.assert_allclose(y.detach().cpu().numpy(), there.numpy(), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("function", [
    tc.nn.functional.elu, tc.nn.functional.softplus, tc.nn.functional.relu6, tc.nn.functional.hardswish, tc.round,
    lambda x: tc.clamp(x, -1, 1), lambda x: x % 0.5, lambda x: 2.0 // x, lambda x: tc.sort(x)[0],
    lambda x: tc.index_select(x, 0, np.array([1, 1, 0])), lambda x: tc.nn.functional.rms_norm(x, (3,))])
def test_bfloat16_stays_bfloat16(function):
    values = np.array([[-2, -0.5, 0.75], [3, 1, -1.5]]).astype(ml_dtypes.bfloat16)
    for where in ("cpu", "cuda-emu"):
        x = tc.Tensor(values).to(where).requires_grad_()
        y = function(x)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == values.dtype
