"""Every row of tinycnn/cases at values and in memory where code goes wrong: nan, inf, zeros, ties, denormals, 1e30."""
import warnings

import numpy as np
import pytest
from differences import ALWAYS, KERNELS, LOST, OURS, SOMETIMES, WIDE
from test_ops import RANDOM, mapped, strided, to_torch, torch_function

import tinycnn as tc
from tinycnn import backend
from tinycnn.cases import all_cases, build
from tinycnn.cases.table import bound
from tinycnn.methods import FUNCTIONS

CASES = all_cases()
SMOOTH = [row for row in CASES if row.grads]
each_row = pytest.mark.parametrize("row", CASES, ids=lambda row: row.id)
each_differentiable = pytest.mark.parametrize("row", SMOOTH, ids=lambda row: row.id)


def floats(v):
    return isinstance(v, np.ndarray) and v.dtype.kind == "f"


def evaluated(row, inputs, cotangent=None):
    """The float outputs of a row and, for its differentiable ones, the gradients of its inputs, as arrays."""
    tc.manual_seed(0)
    tensors = []

    def leaf(v):
        if not floats(v):
            return v
        tensors.append(tc.Tensor(v, requires_grad=row.grads > 0))
        return tensors[-1]
    outputs = FUNCTIONS[row.op](*mapped(leaf, inputs), **row.options)
    outputs = [y for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,)) if isinstance(y, tc.Tensor)]
    gradients = []
    for y in outputs:
        if y.requires_grad:
            seed = np.cos(np.arange(y.numel()).reshape(y.shape)).astype(y.dtype)
            gradients += tc.grad(y, tensors, tc.Tensor(cotangent(seed) if cotangent else seed), retain_graph=True,
                                 allow_unused=True)
    return [y.data for y in outputs], [None if g is None else g.data for g in gradients]


def assert_equal(found, expected, **options):
    for mine, theirs in zip(found, expected, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                np.testing.assert_allclose(a, b, **options)


# ---------------------------------------------------------------------------------------- memory and dtype

@each_row
def test_inputs_are_only_read(row):
    """NumPy refuses to write them; that the kernels do not, which pass by its flag, the numbers tell."""
    if row.op.endswith("_"):
        return                                       # it is there to change its input
    made = []

    def read_only(array):
        if not floats(array):
            return array
        made.append((array.copy(), array.copy()))
        made[-1][0].flags.writeable = False
        return made[-1][0]
    found = evaluated(row, mapped(read_only, build(row)), read_only)
    for array, before in made:
        np.testing.assert_array_equal(array, before)
    assert_equal(found, evaluated(row, build(row)), rtol=0, atol=0)


@each_differentiable
def test_steps_in_memory_do_not_matter_to_gradients(row):
    assert_equal(evaluated(row, mapped(strided, build(row)), strided), evaluated(row, build(row)), rtol=1e-12,
                 atol=1e-13)


@each_differentiable
def test_no_gradient_of_float32_is_computed_in_another_dtype(row):
    """Before backward() turns it into the input's: what a vjp returns."""
    if "dtype" in row.options or row.op == "to_dtype":
        return                                       # made to change it
    func, tensors = bound(row, dtype="float32")
    outputs = func(*tensors)
    stack = [y for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,)) if isinstance(y, tc.Tensor)]
    while stack:
        y = stack.pop()
        if y._node is None:
            continue
        wanted = [p is not None and p.requires_grad for p in y._node.parents]
        with tc.no_grad(), np.errstate(all="ignore"):
            found = y._node.gradients(tc.Tensor(np.ones_like(y.data)), y, wanted)
        assert all(g.dtype == y.dtype for g, w in zip(found, wanted) if w and g is not None), y._node.name
        stack += [p for p, w in zip(y._node.parents, wanted) if w]


# ---------------------------------------------------------------------------------------- nan is never lost

FORGET = {                                           # op: why its result need not be nan
    "nan_to_num": "made to replace it", "sign": "0 for nan, as torch", "_nonzeros": "counts: nan is not 0",
    "sort": "a nan is the largest and changes places", "topk": "the same", "count_nonzero": "counts",
    "norm": "p=0 counts",
}


@each_row
def test_a_nan_reaches_all_that_depends_on_it(row):
    """Outputs that change with an element are nan where the element is."""
    if row.op in FORGET or row.op in RANDOM:
        return
    plain = build(row)
    places = [(i, k) for i, v in enumerate(plain) for k in range(len(v) if isinstance(v, list) else 1)]
    for i, k in places:
        array = plain[i][k] if isinstance(plain[i], list) else plain[i]
        if not floats(array) or not array.size:
            continue
        middle = array.size // 2
        moved = [changed(row, plain, i, k, middle, array.flat[middle] * f) for f in (0.9, 1.1)]
        found = changed(row, plain, i, k, middle, np.nan)
        for a, b, c in zip(*moved, found):
            if c.dtype.kind == "f" and a.shape == b.shape == c.shape:
                assert np.isnan(c[a != b]).all(), f"input {i}"


def changed(row, inputs, i, k, place, value):
    """The outputs with one element of input i (of its k-th array, for a list) replaced."""
    inputs = mapped(lambda v: v.copy() if floats(v) else v, inputs)
    array = inputs[i][k] if isinstance(inputs[i], list) else inputs[i]
    array.flat[place] = value
    try:
        return evaluated(row._replace(grads=0), inputs)[0]
    except ValueError:                               # out of the op's domain
        return []


@each_differentiable
def test_a_nan_in_the_gradient_reaches_all_it_should(row):
    """The gradients that one element of the output has a part in."""
    def only(seed):
        seed = np.zeros_like(seed)
        seed.flat[seed.size // 2:seed.size // 2 + 1] = value
        return seed
    value = 1.0
    _, parts = evaluated(row, build(row), only)
    value = np.nan
    _, found = evaluated(row, build(row), only)
    for a, b in zip(parts, found, strict=True):
        if a is not None:
            assert np.isnan(b[a != 0]).all()


# ---------------------------------------------------------------------------------------- against the reference

def filled(name):
    """A function that fills an array of a row with values of a kind, keeping the signs where there are any."""
    def planted(value):
        def plant(a):
            a = a.copy()
            a.flat[a.size // 2:a.size // 2 + 1] = value
            return a
        return plant
    change = {"zeros": np.zeros_like, "ties": np.ones_like, "nan": planted(np.nan), "inf": planted(np.inf),
              "-inf": planted(-np.inf),
              "denormal": lambda a: np.asarray(np.sign(a) * 1e-40, a.dtype),
              "huge": lambda a: np.asarray(np.sign(a) * 1e30, a.dtype),
              "tiny": lambda a: np.asarray(np.sign(a) * 1e-30, a.dtype)}[name]
    return lambda v: change(v) if floats(v) and v.size else v


SPREAD = ("conv", "linear", "bilinear", "affine", "matrix_product", "matmul", "mm", "bmm", "mv", "einsum")
KINDS = ["zeros", "ties", "nan", "inf", "-inf", "denormal", "huge", "tiny"]
CANCELLED = dict.fromkeys(                           # what results are differences of, however small they are
    ["cross_entropy", "cosine_similarity"], 0.1)
UNITS = 150                                          # of denormals: how far off a sum of rounded ones may be
FEW = ["zeros", "ties", "nan", "denormal"]           # what the default run asks of each row; the rest is slow
each_kind = pytest.mark.parametrize("kind", [*FEW, *(pytest.param(k, marks=pytest.mark.slow)
                                                     for k in KINDS if k not in FEW)])


@each_kind
def test_kernels_and_reference_agree_at_special_values(kind, monkeypatch):
    """Where a product of infinities or overflow decides between inf and nan, both count as lost alike."""
    if backend._cpu_choice() == "reference":
        pytest.skip("TINYCNN_KERNELS=reference: nothing to compare with")
    with np.errstate(all="ignore"):
        fast = [outcome(row, kind) for row in CASES]
        monkeypatch.setattr(backend, "_cpu_choice", lambda: "reference")
        backend._kernels.cache_clear()
        try:
            plain = [outcome(row, kind) for row in CASES]
        finally:
            backend._kernels.cache_clear()
    told = {row.id: (row.op, worst) for row, a, b in zip(CASES, fast, plain) if (worst := apart(row, a, b))}
    wrong = [f"{name}: {worst}" for name, (op, worst) in told.items() if (op, kind) not in KERNELS]
    differing = {op for op, _ in told.values()}
    wrong += [f"{op} agrees in all rows: take it out of differences.KERNELS" for op, value in KERNELS
              if value == kind and op not in differing]
    assert not wrong, "\n".join(wrong)


def outcome(row, kind):
    try:
        outputs, gradients = evaluated(row, mapped(filled(kind), build(row, dtype=np.float32)))
    except (ValueError, TypeError) as error:         # out of the op's domain
        return type(error)
    if row.op == "conv2d_relu" and kind == "huge":
        return []                                    # of products that overflow, -inf or nan; behind the ReLU 0 or nan
    if row.op == "conv2d_relu" and not np.isfinite(np.concatenate([y.reshape(-1) for y in outputs])).all():
        return outputs                               # where a nan has spread, the ReLU hands the gradient on
    return [*outputs, *gradients]


def apart(row, fast, plain):
    """What differs between two outcomes; "" if nothing."""
    if isinstance(plain, type) or isinstance(fast, type):
        return "" if fast is plain else f"{fast} and {plain}"
    for a, b in zip(fast, plain, strict=True):
        if b is None:
            continue
        good = np.isfinite(b) if row.op.startswith(SPREAD) else np.ones(b.shape, bool)
        if b.dtype.kind == "f":
            if np.isfinite(a[~np.isfinite(b)]).any():
                return "a nan or infinity is lost"
            good &= np.isfinite(b) & (np.isfinite(a) | (not row.op.startswith(SPREAD)))
        largest = max(np.abs(b[good]).max(initial=0), CANCELLED.get(row.op, 0))
        if not np.allclose(a[good], b[good], rtol=2e-5, atol=1e-5 * largest):
            return f"{a[good][:6]} and {b[good][:6]}"
    return ""


# ---------------------------------------------------------------------------------------- against PyTorch

EXCUSED = {key: entry for entry in (*ALWAYS, *SOMETIMES) for key in entry.combinations()}


@each_kind
def test_against_torch_at_special_values(kind):
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    check_all(torch, kind, filled(kind), 120)


@pytest.mark.parametrize("kind", ["empty", "scalar"])
def test_empty_and_scalar_inputs_are_taken_where_torch_takes_them(kind):
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")

    def shrink(v):
        if not floats(v) or not v.ndim or not v.size:
            return v
        return v[:0] if kind == "empty" else np.array(v.reshape(-1)[0])
    check_all(torch, kind, shrink, 80)


def check_all(torch, kind, change, least):
    """Every row, its inputs changed, agrees or is excused; more than `least` ops agree; no excuse is left over."""
    wrong, agreed, used = [], set(), set()
    for row in CASES:
        inputs = mapped(change, build(row, dtype=np.float32))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")          # of PyTorch's: variances of nothing
            told = compared(torch, row, kind, inputs)
        wrong += [f"{row.id}: {what}" for key, what in told or () if what]
        used |= {key for key, _ in told or ()}
        agreed |= {row.op} if told == [] else set()
    needed = {key for entry in ALWAYS for key in entry.combinations() if key[1] == kind}
    wrong += [f"{key} agrees with PyTorch in all rows: take it out of differences.ALWAYS" for key in needed - used]
    assert not wrong, "\n".join(wrong)
    assert len(agreed) > least


def compared(torch, row, kind, inputs):
    """What differs from PyTorch: pairs of (op, kind, result) and a message, "" where excused.  None if it refuses."""
    if row.op in RANDOM or row.op.startswith("_") or "dtype" in str(row.options):
        return None                                  # PyTorch's function of that name does something else
    function = torch_function(torch, row.op)
    theirs = None if function is None else of_torch(torch, function, row, inputs)
    if theirs is None:
        return None
    try:
        ours = named(*evaluated(row, inputs))
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        key = row.op, kind, "refused"
        return [(key, "" if key in EXCUSED else repr(error))]
    told = []
    for name, b in theirs.items():
        a, key = ours[name], (row.op, kind, name)
        if agree(row.op, kind, a, b):
            continue
        how = EXCUSED[key].how if key in EXCUSED else None
        if how == WIDE:
            exact = of_torch(torch, function, row, mapped(lambda v: v.astype("d") if floats(v) else v, inputs))
        excused = (how == OURS or how == LOST and lost_alike(row.op, kind, a, b)
                   or how == WIDE and agree(row.op, kind, a, exact[name].astype(a.dtype)))
        told.append((key, "" if excused else f"{name}: {a.ravel()[:6]} and PyTorch {b.ravel()[:6]}"))
    return told


def named(outputs, gradients):
    """Arrays by name: y0, y1, ... and g0, g1, ...; without those that are None."""
    pairs = [*((f"y{i}", y) for i, y in enumerate(outputs)), *((f"g{i}", g) for i, g in enumerate(gradients))]
    return {name: array for name, array in pairs if array is not None}


def of_torch(torch, function, row, inputs):
    """PyTorch's outputs and gradients by name; None if it refuses."""
    tensors = to_torch(torch, inputs)
    leaves = [t for one in tensors for t in (one if isinstance(one, list) else [one])
              if isinstance(t, torch.Tensor) and t.requires_grad]
    gradients = []
    try:
        outputs = function(*tensors, **{k: to_torch(torch, v) for k, v in row.options.items()})
        outputs = [y for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,))
                   if isinstance(y, torch.Tensor)]
        for y in outputs if row.grads else ():
            if y.requires_grad:
                seed = torch.tensor(np.cos(np.arange(y.numel()).reshape(y.shape)), dtype=y.dtype)
                gradients += torch.autograd.grad(y, leaves, seed, retain_graph=True, allow_unused=True)
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError):
        return None
    return named(*([None if t is None else t.detach().numpy() for t in some] for some in (outputs, gradients)))


def agree(op, kind, a, b):
    """Whether two arrays are the same but for rounding, nan and infinities included."""
    if a.shape != b.shape:
        return False
    largest = max(np.abs(b[np.isfinite(b)]).max(initial=0), CANCELLED.get(op, 0)) if b.dtype.kind == "f" else 0
    least = UNITS * 1.4e-45 if kind == "denormal" else 0
    return np.allclose(a, b, rtol=3e-5, atol=1e-6 * largest + least, equal_nan=True)


def lost_alike(op, kind, a, b):
    """Whether they agree where the first is finite: the second must be finite there, too."""
    good = np.isfinite(a)
    return a.shape == b.shape and agree(op, kind, a[good], b[good])
