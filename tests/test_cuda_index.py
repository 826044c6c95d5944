"""Indexing's gradients on a GPU, on the emulator: rows that meet are added in a fixed order, by kernels of our own."""
import ast
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import tinycnn as tc

if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)
cuda_index, reference = (import_module(f"tinycnn.kernels.{name}") for name in ("cuda.index", "reference"))
build, device, memory = (import_module(f"tinycnn.kernels.emulator.{name}") for name in ("build", "device", "memory"))
device.install()
ROOT = Path(__file__).parents[1]


def problem(M, D, size, seed=0):
    """Rows of whole numbers, whose sums are exact in any order, and where they go."""
    rng = np.random.default_rng(seed)
    return rng.integers(-99, 99, (M, D)).astype(np.float32), rng.integers(0, size, M)


@pytest.mark.parametrize("M", [1, 2, 3, 63, 64, 65, 129, 2047, 2048, 2049, 4097])
@pytest.mark.parametrize("size", [1, 3, 100_000])
def test_any_number_of_rows(M, size):
    """Around the sizes of parts and chunks; all in one row, long runs, nearly each in a row of its own."""
    g, rows = problem(M, 1 + 4 // M, size)
    found = cuda_index.scatter_add(*map(device.asarray, (g, rows)), size).get()
    np.testing.assert_array_equal(found, reference.scatter_add(g, rows, size))


@pytest.mark.parametrize("rows", [np.arange(300), np.arange(300)[::-1], np.arange(300) // 7, np.arange(300) % 7,
                                  np.repeat([5, 299], 150)], ids=["sorted", "backwards", "runs", "round", "two"])
def test_orders_of_rows(rows):
    g, _ = problem(300, 2, 300)
    found = cuda_index.scatter_add(device.asarray(g), device.asarray(rows), 300).get()
    np.testing.assert_array_equal(found, reference.scatter_add(g, rows, 300))


def test_sums_are_added_in_the_order_of_the_rows():
    """1e8 + 1 - 1e8 is 0 in float32, 1e8 - 1e8 + 1 is 1; with as many keys before them as make it a part's end."""
    for first, expected in (([1e8, 1, -1e8], 0), ([1e8, -1e8, 1], 1)):
        g = np.array([*[0] * 61, *first, *[0] * 70], np.float32)[:, None]
        found = cuda_index.scatter_add(device.asarray(g), device.asarray(np.full(len(g), 2)), 4).get()
        assert found.ravel().tolist() == [0, 0, expected, 0]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_indices_of_any_integers_and_numbers_of_any_kind(dtype):
    g, rows = problem(20, 3, 4)
    expected = reference.scatter_add(g, rows, 4)
    there = device.asarray(rows.astype(dtype))
    np.testing.assert_array_equal(cuda_index.scatter_add(device.asarray(g), there, 4).get(), expected)
    found = cuda_index.scatter_add(device.asarray(g.astype(np.int64)), there, 4).get()
    assert found.dtype == np.int64 and (found == expected).all()


INDICES = {
    "rows": lambda a: a([3, 1, 3, 0]),
    "rows, backwards": lambda a: a([-1, 1, -1]),
    "two at once": lambda a: (a([3, 1, 3]), a([0, 0, 0])),
    "the last": lambda a: (Ellipsis, a([1, 1, 4])),
    "a slice between": lambda a: (a([3, 1, 3]), slice(1, 3), a([0, 2, 0])),
    "a slice before": lambda a: (slice(None), a([[1, 1], [2, 1]])),
    "a new dimension": lambda a: (None, a([1, 1]), None),
    "a mask of rows": lambda a: a([True, False, True, True]),
    "a mask and rows": lambda a: (a([True, False, True, False]), a([1, 1])),
    "true, and rows": lambda a: (True, a([1, 1])),
    "an int and rows": lambda a: (2, a([0, 0, 1])),
    "a mask of all": lambda a: a(np.arange(60).reshape(4, 3, 5) % 2 == 0),
    "none": lambda a: a(np.zeros(0, np.int64)),
}


@pytest.mark.parametrize("where", ["cpu", "cuda-emu"])
@pytest.mark.parametrize("name", INDICES)
def test_gradients_go_to_the_rows_they_came_from(name, where):
    values = np.arange(60.0).reshape(4, 3, 5)
    index = INDICES[name](np.array)
    expected = np.zeros((4, 3, 5))
    weights = np.arange(1.0, 1 + values[index].size).reshape(values[index].shape)
    np.add.at(expected, index, weights)
    x = tc.tensor(values, device=where, requires_grad=True)
    y = x[INDICES[name](lambda a: tc.tensor(np.array(a), device=where))]
    (y * tc.tensor(weights, device=where)).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_no_atomics_and_the_same_bits_in_every_order(dtype):
    rng = np.random.default_rng(0)
    values, at = rng.standard_normal((6, 3)).astype(dtype), rng.integers(0, 6, 200)
    weights = rng.standard_normal((200, 3)).astype(dtype)
    runs = []
    for order in build.SCHEDULES:
        with device.schedule(order):
            x = tc.tensor(values, device="cuda-emu", requires_grad=True)
            before = memory.launched.copy()
            (x[tc.tensor(at, device="cuda-emu")] * tc.tensor(weights, device="cuda-emu")).sum().backward()
            ran = memory.launched - before
            runs.append(x.grad.numpy().tobytes())
    assert len(set(runs)) == 1
    assert ran["at"] == 0 and sum(n for name, n in ran.items() if name.startswith("add_runs")) == 1


def scattered(path):
    """Lines that add at indices by an array library that may be CuPy, whose additions are atomic."""
    return [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
            and node.attr == "at" and isinstance(node.value, ast.Attribute)
            and not (isinstance(node.value.value, ast.Name) and node.value.value.id == "np")]


def test_nothing_else_adds_at_indices():
    """But for the reference, which is for the CPU, and on a GPU for integers."""
    found = {str(path.relative_to(ROOT)) for folder in ("tinycnn", "kernels") for path in (ROOT / folder).rglob("*.py")
             if scattered(path)}
    assert found == {"kernels/reference/index.py", "kernels/reference/pool.py"}
