"""Derivatives of orders 1 to 4 of every op in tinycnn/cases, against differences of the order below."""
import shutil

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import backend
from tinycnn.cases import all_cases
from tinycnn.cases.orders import derivative, orders
from tinycnn.cases.table import bound

RANDOM = {"dropout", "dropout1d", "dropout2d", "dropout3d", "stochastic_depth", "alpha_dropout",
          "feature_alpha_dropout", "rrelu", "gumbel_softmax"}         # their rows say grads=0: each call differs
WITHOUT_TORCHS = {"floor_divide"}      # grads=0 as PyTorch has no derivative to compare with
ROWS, LEFT_OUT = [], []
for one in all_cases():
    (ROWS if one.grads or one.op in RANDOM | WITHOUT_TORCHS else LEFT_OUT).append(one)
REFUSED = {     # rows whose result requires grad, and yet has no derivative to compare: why
    "embedding-[[0,2,2],[1,0,2]]-(3,4)-padding_idx=-1": "the row of padding_idx is defined to get no gradient",
    "norm-positive(2,3)-p=0,dim=1": "it counts what is not 0",
    "nan_to_num-not_finite(2,3)-nan=2.0,posinf=5.0,neginf=-7.0": "there is no difference at infinity and NaN",
}
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)


def repeatable(row, device="cpu"):
    """The row's function, drawing the same random numbers at every call, and its tensors."""
    func, tensors = bound(row, device=device)

    def again(*points):
        tc.manual_seed(0)
        return func(*points)
    return again, tensors


@each_row
def test_four_orders(row):
    assert max(order.error for order in orders(*repeatable(row))) <= 1e-7


@pytest.mark.slow
@each_row
def test_four_orders_of_the_reference_kernels(row, monkeypatch):
    monkeypatch.setattr(backend, "_cpu_choice", lambda: "reference")
    backend._kernels.cache_clear()
    try:
        test_four_orders(row)
    finally:
        backend._kernels.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
@each_row
def test_four_orders_of_the_emulated_gpu(row):
    assert max(order.error for order in orders(*repeatable(row, "cuda-emu"))) <= 1e-7


@pytest.mark.parametrize("row", LEFT_OUT, ids=lambda row: row.id)
def test_what_has_no_derivatives_says_so(row):
    """The rows that are left out: their results do not require grad, however their inputs do."""
    func, tensors = bound(row)
    results = func(*tensors)
    results = results if isinstance(results, (tuple, list)) else [results]
    recorded = any(isinstance(y, tc.Tensor) and y.requires_grad for y in results)
    assert recorded == (row.id in REFUSED)


def test_differences_are_right_to_1e_11():
    assert derivative(np.exp) == pytest.approx(1, abs=1e-11)
    assert derivative(lambda t: np.sin(3 * t)) == pytest.approx(3, abs=1e-11)


@pytest.mark.parametrize("wrong_order", [1, 2, 3, 4])
def test_a_wrong_order_is_found_and_no_lower_one_is_blamed(wrong_order):
    def power(x, left):
        """exp, whose vjp is off by a thousandth at the order given."""
        @tc.op
        def almost_exp(x):
            return np.exp(x.data), (lambda g: g * power(x, left - 1) * (1.001 if left == 1 else 1.0),)
        return almost_exp(x)
    x = tc.Tensor(np.random.default_rng(0).standard_normal(3))
    found = [order.error > 1e-7 for order in orders(lambda x: power(x, wrong_order), [x])]
    assert found.index(True) == wrong_order - 1
