"""What tensors are made of and how they meet: dtypes, nan and inf, indices, writing in place, random numbers."""
import numpy as np
import pytest

import tinycnn as tc

NAN, INF = float("nan"), float("inf")


def t(values, dtype=None, grad=False):
    return tc.tensor(values, dtype=dtype, requires_grad=grad)


def slope(f, values):
    """The gradient of f's sum at the values."""
    x = t(values, np.float64, grad=True)
    f(x).sum().backward()
    return x.grad.tolist()


# ---------------------------------------------------------------------------------------- dtypes

ONE32, ONE64, ZERO_D64 = np.ones(2, np.float32), np.ones(2), np.float64(1).reshape(())
WHOLE, SMALL, TRUE = np.ones(2, np.int64), np.ones(2, np.uint8), np.ones(2, bool)


@pytest.mark.parametrize("x, y, expected", [
    (ONE32, ONE32, "float32"), (ONE32, ONE64, "float64"), (ONE32, ZERO_D64, "float32"), (ONE32, WHOLE, "float32"),
    (ONE64, WHOLE, "float64"), (WHOLE, ZERO_D64, "float64"), (WHOLE, SMALL, "int64"), (SMALL, TRUE, "uint8"),
    (WHOLE, TRUE, "int64"), (ONE32.astype(np.float16), ONE32, "float32"), (WHOLE.astype(np.int32), WHOLE, "int64")])
def test_two_tensors_promote_as_in_torch(x, y, expected):
    for a, b in ((x, y), (y, x)):
        assert (t(a) + t(b)).dtype == (t(a) * t(b)).dtype == tc.maximum(t(a), t(b)).dtype == expected


@pytest.mark.parametrize("x, number, expected", [
    (ONE32, 2, "float32"), (ONE32, 2.5, "float32"), (ONE32, np.float64(2.5), "float32"), (ONE32, True, "float32"),
    (WHOLE, 2, "int64"), (WHOLE, 2.5, "float32"), (WHOLE, np.float64(2.5), "float32"), (SMALL, 2, "uint8"),
    (TRUE, 2, "int64"), (TRUE, 2.5, "float32"), (ONE64, np.float32(2.5), "float64"), (WHOLE, np.int32(2), "int64")])
def test_numbers_never_raise_the_precision(x, number, expected):
    assert (t(x) * number).dtype == (number * t(x)).dtype == (t(x) + number).dtype == expected
    assert (number - t(x.astype(x.dtype if x is not TRUE else int))).dtype == expected


def test_two_numbers_make_a_tensor_where_torch_does():
    for result, value, dtype in ((tc.add(2, 3), 5, np.int64), (tc.mul(2.0, 3), 6, np.float32), (
            tc.div(1, 2), 0.5, np.float32), (tc.sub(2.0, 0.5), 1.5, np.float32)):
        assert result.shape == () and result.item() == value and result.dtype == dtype
    with pytest.raises(TypeError, match="pow: at least one operand must be a tensor"):
        tc.pow(2, 3)


def test_clamp_takes_the_dtype_of_what_it_is_given():
    x, low = tc.ones(2), tc.tensor([2, 3])
    assert tc.clamp(x, low).dtype == np.float32 and tc.clamp(low, tc.zeros(2), tc.ones(2)).dtype == np.float32
    assert tc.clamp(x, tc.zeros(2).double()).dtype == tc.clamp(x, max=tc.zeros(2).double()).dtype == np.float64
    assert tc.clamp(x, tc.zeros(()).double()).dtype == np.float32        # without dimensions it raises no precision
    assert tc.clamp(low, tc.tensor(1), 5).dtype == np.int64


def test_arrays_are_operands_from_both_sides():
    left, right = ONE64 * 2 + t([1.0, 2.0]), t([1.0, 2.0]) + ONE64 * 2
    assert isinstance(left, tc.Tensor) and left.tolist() == right.tolist() == [3.0, 4.0]
    assert left.dtype == right.dtype == np.float64


def test_integers():
    x = t([7, -7, 2])
    assert (x / 2).tolist() == [3.5, -3.5, 1.0] and (x / x).dtype == (x / 2).dtype == (1 / x).dtype == np.float32
    assert (x // 2).tolist() == [3, -4, 1] and (x % 3).tolist() == [1, 2, 2] and (x // 2).dtype == np.int64
    assert tc.div(x, 2, rounding_mode="trunc").tolist() == [3, -3, 1]
    assert tc.div(x, 2, rounding_mode="trunc").dtype == np.int64
    assert x.sum().dtype == t([True, True]).sum().dtype == np.int64 and x.prod().item() == -98
    assert t([1, 2], np.int32).sum().dtype == t([1, 2], np.uint8).cumsum(0).dtype == np.int64
    assert tc.exp(t([0])).dtype == tc.sqrt(x).dtype == tc.sigmoid(x).dtype == np.float32
    assert (x > 0).dtype == np.bool_ and tc.cat([x, t([1.5])]).dtype == np.float32
    assert (x & 3).tolist() == [3, 1, 2] and (~t([True, False])).tolist() == [False, True]
    assert ((x > 0) & (x < 5)).tolist() == [False, False, True]


@pytest.mark.parametrize("wrong", [
    lambda: t([1, 2]).mean(), lambda: t([1, 2]).var(), lambda: t([1.0]) & t([1.0]), lambda: t([1, 2], grad=True),
    lambda: tc.where(t([1, 0]), t([1.0, 2.0]), 0.0), lambda: t([1.0, 2.0]).masked_fill(t([1, 0]), 0.0),
    lambda: tc.index_select(t([1.0]), 0, t([0.0])), lambda: t([1.0]) + "a", lambda: tc.tensor(["a"]),
    lambda: t([1.0]) @ t([1]), lambda: tc.from_numpy([1.0])])
def test_wrong_kinds_are_type_errors(wrong):
    with pytest.raises(TypeError):
        wrong()


def test_conversions():
    x = t([1.5, -2.5], grad=True)
    assert x.double().dtype == np.float64 and x.long().tolist() == [1, -2] and x.half().dtype == np.float16
    assert x.to(np.float32) is x and x.to("float64").dtype == x.to(t(ONE64)).dtype == np.float64
    x.double().sum().backward()
    assert x.grad.dtype == np.float32
    assert t([0, 3]).bool().tolist() == [False, True] and x.detach().numpy() is x.data


# ---------------------------------------------------------------------------------------- new tensors

def test_creation_dtypes():
    kinds = {"float32": [t(1.5), t([1.5]), tc.zeros(2), tc.ones((2, 3)), tc.rand(2), tc.randn(2), tc.eye(2),
                         tc.linspace(0, 1, 3), tc.arange(0, 1, 0.5), tc.full((2,), 1.5), tc.empty(0)],
             "int64": [t(1), t([[1]]), tc.arange(3), tc.randint(5, size=(2,)), tc.randperm(3), tc.full((2,), 1)],
             "bool": [t(True), t([True]), tc.full((2,), True)],
             "float64": [t(ONE64), t([np.float64(1)]), tc.zeros(2, dtype=np.float64), tc.zeros_like(t(ONE64)),
                         tc.randn_like(t(ONE64)), tc.ones(2, dtype="float64"), t(ONE64).new_zeros(2)],
             "uint8": [t(SMALL), tc.ones_like(t(SMALL)), tc.full_like(t(SMALL), 3), t(SMALL).new_tensor([2])]}
    for dtype, tensors in kinds.items():
        assert [x.dtype for x in tensors] == [dtype] * len(tensors)


def test_creation_values():
    assert tc.arange(2, 8, 3).tolist() == [2, 5] and tc.linspace(0, 1, 3).tolist() == [0, 0.5, 1]
    assert tc.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]] and tc.full((2,), 7).tolist() == [7, 7]
    assert tc.zeros(2, 3).shape == tc.zeros((2, 3)).shape == tc.zeros([2, 3]).shape == (2, 3)
    rows, columns = tc.meshgrid(tc.arange(2), tc.arange(2), indexing="ij")
    assert rows.tolist() == [[0, 0], [1, 1]] and columns.tolist() == [[0, 1], [0, 1]]
    assert tc.ones(2, requires_grad=True).requires_grad and sorted(tc.randperm(5).tolist()) == [0, 1, 2, 3, 4]


def test_numbers_keep_all_digits_in_float64():
    double = tc.zeros(2, dtype="float64")
    made = [tc.tensor(0.1, dtype="float64"), tc.tensor([[0.1]], dtype="float64"), tc.as_tensor([0.1], dtype="float64"),
            double.new_tensor([0.1]), tc.full((2,), 0.1, dtype="float64"), tc.full_like(double, 0.1),
            double.new_full((1,), 0.1), tc.linspace(tc.tensor(0.0), 0.1, 2, dtype="float64")[1]]
    assert {v for x in made for v in np.unique(x.numpy())} == {0.1}
    assert tc.tensor([2 ** 62 + 1], dtype="int64").item() == 2 ** 62 + 1 and tc.tensor(2.9, dtype="int64").item() == 2


@pytest.mark.parametrize("make", [lambda: tc.arange(0, 3, 0), lambda: tc.arange(0, -3, 2), lambda: tc.arange(3, 0),
                                  lambda: tc.linspace(tc.zeros(1), 1, 3)])
def test_ranges_without_sense_are_refused(make):
    with pytest.raises(ValueError, match="arange: steps of|linspace: start and end"):
        make()


def test_tensor_copies_and_as_tensor_shares():
    a = np.zeros(2)
    copied, shared = tc.tensor(a), tc.as_tensor(a)
    a += 1
    assert copied.tolist() == [0, 0] and shared.tolist() == tc.from_numpy(a).tolist() == [1, 1]
    assert tc.as_tensor(shared) is shared


def test_random_numbers_repeat_after_a_seed():
    def drawn():
        return [f.tolist() for f in (tc.rand(3), tc.randn(3), tc.randint(9, size=(3,)), tc.randperm(5),
                                     tc.zeros(3).uniform_(), tc.zeros(3).normal_(), tc.dropout(tc.ones(9), 0.5))]
    tc.manual_seed(3)
    first, state, second = drawn(), tc.get_rng_state(), drawn()
    assert first != second
    tc.set_rng_state(state)
    assert drawn() == second
    tc.manual_seed(3)
    assert drawn() == first
    tc.manual_seed(-1)                               # any integer will do
    with pytest.raises(ValueError, match="set_rng_state"):
        tc.set_rng_state({"bit_generator": "nothing"})


def test_random_ranges():
    assert set(tc.randint(2, 4, (200,)).tolist()) == {2, 3}
    x = tc.zeros(4000).uniform_(2, 3).data
    assert x.min() >= 2 and x.max() < 3 and abs(x.mean() - 2.5) < 0.03                # 6 standard errors
    assert abs(tc.zeros(4000).normal_(1, 2).data.std() - 2) < 0.15


# ---------------------------------------------------------------------------------------- nan, inf, zeros and ties

def test_nan_and_inf_go_through():
    x = t([NAN, INF, -INF, 0.0])
    assert np.isnan(tc.maximum(x, t(1.0)).data[0]) and np.isnan(x.max().item()) and np.isnan(x.clamp(0, 1).data[0])
    assert x.clamp(-1, 1).tolist()[1:] == [1, -1, 0] and x.argmax().item() == 0
    assert tc.exp(x).tolist()[1:] == [INF, 0, 1] and tc.sigmoid(x).tolist()[1:] == [1, 0, 0.5]
    assert (t([1.0, -1.0, 0.0]) / 0).tolist()[:2] == [INF, -INF] and tc.log(t([0.0])).item() == -INF
    assert np.isnan(tc.log(t([-1.0])).item()) and np.isnan(tc.sqrt(t([-1.0])).item())
    assert tc.logsumexp(t([-INF, -INF]), 0).item() == -INF and tc.logsumexp(t([INF, 0.0]), 0).item() == INF
    assert tc.logsumexp(t([1000.0, 1000.0]), 0).item() == pytest.approx(1000 + np.log(2))
    assert tc.nan_to_num(t([NAN, INF])).tolist() == [0, float(np.finfo(np.float32).max)]
    assert np.isnan(tc.zeros(0).mean().item()) and tc.zeros(0).sum().item() == 0 and tc.zeros(0).prod().item() == 1
    assert np.isnan(t([1.0]).var().item())


def test_what_where_does_not_choose_has_gradient_zero():
    assert slope(lambda x: tc.where(x > 0, tc.log(x.clamp(1e-9)), 0.0), [-1.0, 2.0]) == [0, 0.5]
    assert slope(lambda x: tc.where(x > 0, x, x * INF), [1.0]) != [1.0]               # inf * 0: as in torch, nan


def test_ties_share_the_gradient():
    assert slope(tc.amax, [2.0, 1.0, 2.0]) == slope(tc.max, [2.0, 1.0, 2.0]) == [0.5, 0, 0.5]
    assert slope(lambda x: tc.max(x, 0).values, [2.0, 1.0, 2.0]) == [1, 0, 0]         # one index, one gradient
    assert slope(lambda x: tc.maximum(x, t([1.0, 1.0])), [1.0, 2.0]) == [0.5, 1]
    assert slope(lambda x: x.clamp(0, 1), [0.0, 1.0, 2.0]) == [1, 1, 0]
    assert slope(tc.abs, [0.0, -3.0]) == [0, -1] and t([1, 2]).clamp(1.5).dtype == np.float32
    assert tc.max(t([1, 3, 3]), 0).indices.item() == 1 and tc.zeros(0, 3).argmax(1).shape == (0,)
    assert tc.argsort(t([1, 0, 1, 0]), stable=True).tolist() == [1, 3, 0, 2]
    assert tc.argsort(t([1, 0, 1, 0]), descending=True, stable=True).tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("f, at, expected", [
    (tc.prod, [0.0, 2.0, 3.0], [6, 0, 0]), (tc.prod, [0.0, 2.0, 0.0], [0, 0, 0]),
    (lambda x: tc.cumprod(x, 0), [0.0, 2.0, 3.0], [9, 0, 0]),
    (tc.norm, [0.0, 0.0], [0, 0]), (lambda x: tc.norm(x, 3), [0.0, 0.0], [0, 0]),
    (lambda x: tc.norm(x, 1), [0.0, -2.0], [0, -1]), (tc.std, [2.0, 2.0], [0, 0]),
    (lambda x: x ** 2, [0.0], [0]), (lambda x: x ** 1, [0.0], [1]), (lambda x: x ** 0, [0.0], [0]),
    (lambda x: t([0.0, 2.0]) ** x, [0.0, 0.0], [0, np.log(2)]), (lambda x: x ** t([2.0, 0.0]), [0.0, 0.0], [0, 0]),
    (tc.relu, [0.0], [0]), (tc.sign, [0.0], [0])])
def test_gradients_at_zero(f, at, expected):
    np.testing.assert_allclose(slope(f, at), expected, rtol=1e-7)


# ---------------------------------------------------------------------------------------- indices

def test_masks():
    x = tc.arange(6).reshape(2, 3)
    assert x[x > 2].tolist() == [3, 4, 5] and x[t([True, False])].tolist() == [[0, 1, 2]]
    assert x.masked_fill(x > 2, -1).tolist() == [[0, 1, 2], [-1, -1, -1]]
    assert x[x > 99].shape == (0,) and (x > 2).nonzero().tolist() == [[1, 0], [1, 1], [1, 2]]
    assert [i.tolist() for i in tc.where(x > 3)] == [[1, 1], [1, 2]]


def test_ints_beside_arrays_are_taken_first():
    x = tc.arange(24).reshape(2, 3, 4)
    assert x[0, :, [1, 2]].tolist() == [[1, 2], [5, 6], [9, 10]] and x[t(0), :, [1, 2]].shape == (3, 2)
    x[0, :, [1, 2]] = -1
    assert (x == -1).sum().item() == 6 and x[0, :, 1].tolist() == [-1] * 3


def test_repeated_indices_add_their_gradients_up():
    assert slope(lambda x: x[[0, 0, 2]], [1.0, 2.0, 3.0]) == [2, 0, 1]
    assert slope(lambda x: x[[-1, 2]] * 3, [1.0, 2.0, 3.0]) == [0, 0, 6]
    assert slope(lambda x: tc.gather(x, 0, t([1, 1])), [1.0, 2.0]) == [0, 2]
    assert tc.scatter_add(tc.zeros(3), 0, t([1, 1]), t([2.0, 3.0])).tolist() == [0, 5, 0]


@pytest.mark.parametrize("wrong, error", [
    (lambda x: x[3], IndexError), (lambda x: x[0, 0, 0], IndexError), (lambda x: x[[5]], IndexError),
    (lambda x: x[t([1.0])], IndexError), (lambda x: x[::-1], ValueError), (lambda x: x[np.array([True])], IndexError),
    (lambda x: tc.gather(x, 0, t([[2, 0]])), IndexError), (lambda x: tc.index_select(x, 2, t([0])), IndexError),
    (lambda x: x.select(0, 2), IndexError), (lambda x: x.narrow(1, 2, 2), ValueError),
    (lambda x: x.sum(2), IndexError), (lambda x: x.sum((0, 0)), ValueError), (lambda x: x.reshape(4), ValueError),
    (lambda x: x + tc.zeros(2), ValueError), (lambda x: tc.cat([x, tc.zeros(2, 2)]), ValueError),
    (lambda x: x.expand(4, 3), ValueError), (lambda x: x @ x, ValueError), (lambda x: x.permute(0, 0), ValueError),
    (lambda x: tc.zeros(0).max(), ValueError), (lambda x: tc.zeros(0).argmax(), ValueError)])
def test_wrong_indices_and_shapes_name_the_shape(wrong, error):
    with pytest.raises(error, match=r"\(|step|float"):
        wrong(tc.zeros(2, 3))


# ---------------------------------------------------------------------------------------- writing in place

def test_in_place_methods_write_and_return_the_tensor():
    x = t([1.0, 2.0])
    home = x.data
    assert x.add_(1).mul_(2).sub_(1, alpha=2).div_(2) is x and x.tolist() == [1, 2]
    assert x.clamp_(max=1.5).tolist() == [1, 1.5] and x.fill_(3).tolist() == [3, 3] and x.zero_().tolist() == [0, 0]
    assert x.copy_(t([4, 5])).tolist() == [4, 5] and x.masked_fill_(x > 4, 0).tolist() == [4, 0]
    assert t([0]).copy_(t([1.5])).tolist() == [1]
    x += 1
    x *= t([2.0, 3.0])
    x[0] = 7
    x[x < 5] = t([9.0])
    assert x.tolist() == [7, 9] and x.data is home and x.dtype == np.float32


def test_in_place_on_what_requires_grad():
    x = t([1.0, 2.0], grad=True)
    for write in (lambda: x.add_(1), lambda: x.zero_(), lambda: x.__setitem__(0, 1.0), lambda: t([0.0, 0.0]).copy_(x)):
        with pytest.raises(RuntimeError, match="no_grad|graph"):
            write()
    y = x
    y += 1                                           # while recording: a new tensor
    assert y is not x and x.tolist() == [1, 2] and y.requires_grad
    with tc.no_grad():
        x.mul_(3)
        x[0] = 0
        x += 1
    assert x.tolist() == [1, 7] and x.requires_grad and x.is_leaf


@pytest.mark.parametrize("write, error", [
    (lambda: t([1, 2]).add_(0.5), TypeError), (lambda: t([1, 2]).div_(2), TypeError),
    (lambda: tc.zeros(2).add_(tc.zeros(3, 2)), ValueError), (lambda: tc.zeros(2).add_(tc.zeros(3)), ValueError),
    (lambda: tc.zeros(1).expand(3).add_(1), ValueError), (lambda: tc.zeros(2).__setitem__(2, 1.0), IndexError),
    (lambda: tc.zeros(2).__setitem__(slice(0, 2), tc.zeros(3)), ValueError)])
def test_wrong_writes(write, error):
    with pytest.raises(error):
        write()


def test_a_change_in_place_is_noticed_by_backward():
    x = t([1.0, 2.0], grad=True)
    y = x * 2
    z = (y * y).sum()
    with tc.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match="in place"):
        z.backward()
