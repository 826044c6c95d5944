"""Modules: what is found, in which order and under which names; states, hooks, modes, paths in errors."""
import copy
import gc
import weakref

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn


class Block(nn.Module):
    """Parts in an order of their own, a shared one, both kinds of buffers, a plain tensor."""

    def __init__(self, call_super=False):
        if call_super:
            super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(np.ones(3, np.float32))
        self.register_buffer("kept", tc.ones(2))
        self.register_buffer("lost", tc.zeros(2), persistent=False)
        self.register_parameter("absent", None)
        self.plain = tc.ones(5)
        self.conv = nn.Conv2d(3, 4, 3)
        self.again = self.norm

    def forward(self, x):
        return self.again(self.norm(self.conv(x)))


def torch_block(torch):
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(4)
            self.scale = torch.nn.Parameter(torch.ones(3))
            self.register_buffer("kept", torch.ones(2))
            self.register_buffer("lost", torch.zeros(2), persistent=False)
            self.register_parameter("absent", None)
            self.plain = torch.ones(5)
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.again = self.norm
    return Block()


@pytest.mark.parametrize("call_super", [False, True])
@pytest.mark.parametrize("names", [
    lambda m: [n for n, _ in m.named_parameters()], lambda m: [n for n, _ in m.named_parameters(recurse=False)],
    lambda m: [n for n, _ in m.named_parameters(prefix="p")], lambda m: [n for n, _ in m.named_buffers()],
    lambda m: [n for n, _ in m.named_children()], lambda m: [n for n, _ in m.named_modules()],
    lambda m: list(m.state_dict()), lambda m: [type(c).__name__ for c in m.children()], repr,
    lambda m: [tuple(p.shape) for p in m.parameters()], lambda m: [tuple(b.shape) for b in m.buffers()],
    lambda m: len(list(m.modules())), lambda m: type(m.get_submodule("conv")).__name__,
], ids=["parameters", "own", "prefix", "buffers", "children", "modules", "state", "kinds", "repr", "shapes",
        "buffer shapes", "count", "submodule"])
def test_finds_what_torch_finds(call_super, names):
    torch = pytest.importorskip("torch")
    assert names(Block(call_super)) == names(torch_block(torch))


def test_state_holds_the_modules_own_arrays_and_int64_counts():
    block = Block()
    state = block.state_dict()
    assert type(state) is dict and state["conv.weight"] is block.conv.weight.data
    assert state["norm.num_batches_tracked"].dtype == np.int64 and state["norm.num_batches_tracked"].shape == ()
    assert not any(key in state for key in ("plain", "lost", "absent"))


# ---------------------------------------------------------------------------------------- loading

def test_load_copies_converts_and_keeps_identity():
    source, target = Block().double(), Block()
    conv, array = target.conv.weight, target.conv.weight.data
    result = target.load_state_dict(source.state_dict())
    assert result == ([], []) and result.missing_keys == []
    assert target.conv.weight is conv and conv.data is array and array.dtype == np.float32
    np.testing.assert_array_equal(array, source.conv.weight.numpy().astype(np.float32))
    source.conv.weight.data[...] = 7
    assert (array != 7).all()


def test_load_takes_tensors_arrays_and_torchs_tensors():
    torch = pytest.importorskip("torch")
    theirs = torch_block(torch)
    mine = Block()
    mine.load_state_dict(theirs.state_dict())
    np.testing.assert_array_equal(mine.conv.weight.numpy(), theirs.conv.weight.detach().numpy())
    mine.load_state_dict({name: tc.Tensor(v * 0 + 2) for name, v in mine.state_dict().items()})
    assert all((v == 2).all() for v in mine.state_dict().values())


def test_a_refused_state_names_everything_and_changes_nothing():
    block = Block()
    before = {name: v.copy() for name, v in block.state_dict().items()}
    state = {name: v + 1 for name, v in before.items()}
    del state["scale"], state["norm.bias"]
    state.update({"conv.weight": np.ones((4, 3, 5, 5)), "extra": np.ones(1), "head.bias": np.ones(2),
                  "norm.num_batches_tracked": np.float64(1.5)})
    with pytest.raises(ValueError) as caught:
        block.load_state_dict(state)
    for words in ("Block.load_state_dict", "missing keys: scale; norm.bias", "unexpected keys: extra; head.bias",
                  "conv.weight: expected (4, 3, 3, 3), got (4, 3, 5, 5)",
                  "norm.num_batches_tracked: expected int64, got float64", "strict=False"):
        assert words in str(caught.value)
    with pytest.raises(ValueError, match="wrong shapes"):
        block.load_state_dict({"conv.weight": np.ones(3), "scale": np.zeros(3)}, strict=False)
    for name, v in block.state_dict().items():
        np.testing.assert_array_equal(v, before[name])


def test_not_strict_loads_what_fits_by_name():
    block = Block()
    result = block.load_state_dict({"scale": np.full(3, 5.0), "extra": np.ones(1)}, strict=False)
    assert result.unexpected_keys == ["extra"] and "conv.bias" in result.missing_keys
    assert (block.scale.numpy() == 5).all()


def test_load_refuses_what_is_no_mapping():
    with pytest.raises(TypeError, match="expected a mapping of names to arrays, got a str: load the file first"):
        Block().load_state_dict("model.tc")


def test_load_is_noticed_by_a_graph_that_saved_the_old_values():
    layer = nn.Linear(2, 2)
    x = tc.ones(1, 2, requires_grad=True)
    y = layer(x).sum()
    layer.load_state_dict({name: v + 1 for name, v in layer.state_dict().items()})
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


# ---------------------------------------------------------------------------------------- attributes

@pytest.mark.parametrize("value,cure", [
    (lambda: [nn.Linear(1, 1)], "nn.ModuleList([...]) or nn.Sequential(...)"),
    (lambda: (nn.Linear(1, 1),), "nn.ModuleList"),
    (lambda: [[nn.Linear(1, 1)]], "nn.ModuleList"),
    (lambda: {"a": nn.Linear(1, 1)}, "nn.ModuleDict({...})"),
    (lambda: [nn.Parameter(np.ones(1, np.float32))], "nn.ParameterList"),
], ids=["list", "tuple", "nested", "dict", "parameters"])
def test_parts_in_plain_lists_are_refused(value, cure):
    model = nn.Module()
    with pytest.raises(TypeError) as caught:
        model.blocks = value()
    assert "Module.blocks: a plain" in str(caught.value) and cure in str(caught.value)


@pytest.mark.parametrize("use", [lambda m: list(m.parameters()), lambda m: m.state_dict(), lambda m: m.zero_grad(),
                                 lambda m: nn.Sequential(m).load_state_dict({})],
                         ids=["parameters", "state_dict", "zero_grad", "load_state_dict"])
def test_parts_appended_to_a_plain_list_are_noticed(use):
    model = nn.Module()
    model.blocks = []
    model.blocks.append(nn.Linear(1, 1))
    with pytest.raises(TypeError, match="Module.blocks: a plain list holds a Linear"):
        use(model)


def test_a_plain_list_of_parts_that_are_found_elsewhere_is_fine():
    model = Block()
    model.order = [model.conv, model.norm]
    assert len(list(model.parameters())) == 5


def test_a_parameter_is_not_replaced_by_accident():
    layer = nn.Linear(2, 2)
    for value in (tc.ones(2, 2), np.ones((2, 2)), 3.0):
        with pytest.raises(TypeError, match="Linear.weight is a Parameter and cannot become"):
            layer.weight = value
    layer.weight = nn.Parameter(np.zeros((2, 2), np.float32))
    layer.bias = None
    assert [n for n, _ in layer.named_parameters()] == ["weight"]


def test_registered_names_are_checked_and_buffers_stay_tensors():
    block = Block()
    block.kept = np.zeros(2)
    assert isinstance(block.kept, tc.Tensor) and "kept" in block.state_dict()
    for name in ("", "a.b", "forward", "training"):
        with pytest.raises(ValueError, match="name"):
            block.register_buffer(name, tc.ones(1))
    with pytest.raises(AttributeError, match="no submodule 'conv.deep'"):
        block.get_submodule("conv.deep")


# ---------------------------------------------------------------------------------------- modes and conversions

def test_modes_apply_zero_grad_and_requires_grad():
    block, seen = Block(), []
    assert block.eval() is block and not any(m.training for m in block.modules())
    assert block.train() is block and all(m.training for m in block.modules())
    assert block.apply(lambda m: seen.append(type(m).__name__)) is block
    assert seen[-1] == "Block"
    block(tc.randn(2, 3, 5, 5)).sum().backward()
    block.zero_grad(set_to_none=False)
    assert not block.conv.weight.grad.numpy().any()
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())
    assert not any(p.requires_grad for p in block.requires_grad_(False).parameters())


@pytest.mark.parametrize("convert,dtype", [
    (lambda m: m.double(), "float64"), (lambda m: m.to(np.float64), "float64"), (lambda m: m.to("float64"), "float64"),
    (lambda m: m.to(dtype=np.float64), "float64"), (lambda m: m.to("cpu", np.float64), "float64"),
    (lambda m: m.to(tc.ones(1, dtype=np.float64)), "float64"), (lambda m: m.double().float(), "float32"),
    (lambda m: m.to("cpu"), "float32"), (lambda m: m.cpu(), "float32")])
def test_conversion_keeps_identity_counts_and_gradients(convert, dtype):
    block = Block()
    block(tc.randn(2, 3, 5, 5)).sum().backward()
    parameters = list(block.parameters())
    assert convert(block) is block and all(a is b for a, b in zip(parameters, block.parameters()))
    assert {v.dtype.name for v in block.state_dict().values()} == {dtype, "int64"}
    assert block.conv.weight.grad.dtype == dtype and block.lost.dtype == dtype and block.plain.dtype == np.float32
    assert block(tc.randn(2, 3, 5, 5, dtype=dtype)).dtype == dtype


def test_conversion_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown device 'gpu': expected one of cpu, cuda"):
        Block().to("gpu")
    with pytest.raises(TypeError, match="cannot become int64: use float32 or float64"):
        Block().to(np.int64)


def test_deepcopy_shares_nothing_but_keeps_what_is_shared_inside():
    block = Block()
    block.tied = block.conv.weight
    block(tc.randn(2, 3, 5, 5))
    other = copy.deepcopy(block)
    assert other.again is other.norm and other.tied is other.conv.weight and repr(other) == repr(block)
    assert list(other.state_dict()) == list(block.state_dict())
    for (name, a), b in zip(block.state_dict().items(), other.state_dict().values()):
        np.testing.assert_array_equal(a, b, name)
        assert not np.shares_memory(a, b)
    assert copy.deepcopy(nn.LazyLinear(3))(tc.ones(1, 2)).shape == (1, 3)


def test_a_discarded_module_is_freed_at_once():
    gc.collect()
    gc.disable()
    try:
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        model(tc.ones(1, 2)).sum().backward()
        watched = weakref.ref(model[0])
        del model
        assert watched() is None
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------- hooks

def test_forward_hooks_see_and_replace():
    layer, seen = nn.Identity(), []
    before = layer.register_forward_pre_hook(lambda m, inputs: (inputs[0] + 1,))
    after = layer.register_forward_hook(lambda m, inputs, output: seen.append((m, inputs[0].item())) or output * 10)
    assert layer(tc.tensor(2.0)).item() == 30 and seen == [(layer, 3.0)]
    before.remove()
    with after:
        assert layer(tc.tensor(2.0)).item() == 20
    assert layer(tc.tensor(2.0)).item() == 2


def test_full_backward_hooks_see_what_torchs_see():
    torch = pytest.importorskip("torch")
    found = []
    for library, make in ((nn, lambda a: tc.Tensor(a, requires_grad=True)),
                          (torch.nn, lambda a: torch.tensor(a, requires_grad=True))):
        layer = library.Linear(3, 2).double()
        layer.load_state_dict({"weight": make(np.arange(6.0).reshape(2, 3)), "bias": make(np.ones(2))})
        seen = []
        handle = layer.register_full_backward_hook(
            lambda m, gi, go, seen=seen: seen.append([*gi, *go]) or (gi[0] * 2,))
        x = make(np.ones((1, 3)))
        (layer(x) ** 2 + x.sum()).sum().backward()
        handle.remove()
        layer(x).sum().backward()
        found.append([np.asarray(g.detach().numpy()) for g in seen[0]] + [x.grad.numpy()])
        assert len(seen) == 1
    for mine, theirs in zip(*found):
        np.testing.assert_allclose(mine, theirs)


def test_full_backward_hook_without_a_gradient_of_the_input():
    layer, seen = nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].shape)))
    layer(tc.ones(4, 2)).sum().backward()
    assert seen == [((None,), (4, 1))] and layer.weight.grad is not None
    with tc.no_grad():
        assert not layer(tc.ones(4, 2)).requires_grad


# ---------------------------------------------------------------------------------------- errors

class Net(nn.Module):
    def __init__(self):
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(64, 128, (3, 3))))

    def forward(self, x):
        return self.features(x)


def test_an_error_names_the_path_of_the_layer_once():
    with pytest.raises(ValueError) as caught:
        nn.Sequential(Net())(tc.ones(1, 3, 8, 8))
    message = str(caught.value)
    assert message.startswith("0.features.2.0 Conv2d(64, 128, kernel_size=(3, 3), stride=(1, 1)): conv2d: ")
    assert message.count("Conv2d") == 1 and message.count("conv2d") == 1
    deepest = [entry.name for entry in caught.traceback][-1]
    assert deepest == "_convolve", "the traceback leads to where it happened"


@pytest.mark.parametrize("error", [ValueError("odd"), TypeError("odd"), IndexError("odd")])
def test_the_kind_of_the_error_stays(error):
    class Odd(nn.Module):
        def forward(self, x):
            raise error
    with pytest.raises(type(error), match=r"^1 Odd\(\): odd$"):
        nn.Sequential(nn.ReLU(), Odd())(tc.ones(1))


def test_other_errors_pass_unchanged():
    class Special(ValueError):
        def __init__(self, a, b):
            super().__init__(a, b)

    class Odd(nn.Module):
        def forward(self, x):
            raise Special(1, 2)
    with pytest.raises(Special) as caught:
        nn.Sequential(Odd())(tc.ones(1))
    assert caught.value.args == (1, 2)


def test_no_forward():
    with pytest.raises(NotImplementedError, match=r"Block2 does not define forward\(\)"):
        type("Block2", (nn.Module,), {})()(tc.ones(1))
