"""Every layer against PyTorch's: repr, state, outputs, gradients, options; and what only layers do."""
import inspect

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn

IMAGES, LINES, ROWS = (2, 4, 6, 5), (2, 4, 7), (3, 4)
# name, arguments, shape of the input (a list: shapes of several)
LAYERS = [
    ("Identity", {}, ROWS),
    ("Flatten", {}, IMAGES), ("Flatten", {"start_dim": 2, "end_dim": 3}, IMAGES),
    ("Unflatten", {"dim": 1, "unflattened_size": (2, 2)}, IMAGES),
    ("Linear", {"in_features": 4, "out_features": 3}, ROWS),
    ("Linear", {"in_features": 5, "out_features": 3, "bias": False}, IMAGES),
    ("Bilinear", {"in1_features": 4, "in2_features": 5, "out_features": 3}, [(2, 4), (2, 5)]),
    ("Conv1d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3}, LINES),
    ("Conv1d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "padding": 2, "padding_mode": "circular"},
     LINES),
    ("Conv2d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3}, IMAGES),
    ("Conv2d", {"in_channels": 4, "out_channels": 6, "kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0),
                "dilation": (1, 2), "groups": 2, "bias": False}, IMAGES),
    ("Conv2d", {"in_channels": 4, "out_channels": 2, "kernel_size": (3, 4), "padding": "same"}, IMAGES),
    ("Conv2d", {"in_channels": 4, "out_channels": 2, "kernel_size": 2, "padding": "valid"}, IMAGES),
    ("Conv2d", {"in_channels": 4, "out_channels": 2, "kernel_size": 3, "padding": (1, 2), "padding_mode": "reflect"},
     IMAGES),
    ("Conv2d", {"in_channels": 4, "out_channels": 2, "kernel_size": (2, 3), "padding": "same",
                "padding_mode": "replicate"}, IMAGES),
    ("Conv2d", {"in_channels": 4, "out_channels": 2, "kernel_size": 3, "padding": 1, "padding_mode": "circular"},
     IMAGES),
    ("ConvTranspose1d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "output_padding": 1},
     LINES),
    ("ConvTranspose2d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3}, IMAGES),
    ("ConvTranspose2d", {"in_channels": 4, "out_channels": 6, "kernel_size": (3, 2), "stride": (2, 3), "padding": 1,
                         "output_padding": (1, 0), "groups": 2, "bias": False, "dilation": 2}, IMAGES),
    ("MaxPool1d", {"kernel_size": 2}, LINES),
    ("MaxPool2d", {"kernel_size": 2}, IMAGES),
    ("MaxPool2d", {"kernel_size": (3, 2), "stride": 2, "padding": 1, "dilation": (1, 2), "ceil_mode": True}, IMAGES),
    ("AvgPool1d", {"kernel_size": 3, "padding": 1}, LINES),
    ("AvgPool2d", {"kernel_size": (2, 3)}, IMAGES),
    ("AvgPool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}, IMAGES),
    ("AvgPool2d", {"kernel_size": 2, "divisor_override": 3}, IMAGES),
    ("AdaptiveAvgPool1d", {"output_size": 3}, LINES),
    ("AdaptiveAvgPool2d", {"output_size": (1, 1)}, IMAGES), ("AdaptiveAvgPool2d", {"output_size": (None, 3)}, IMAGES),
    ("AdaptiveMaxPool1d", {"output_size": 3}, LINES), ("AdaptiveMaxPool2d", {"output_size": 2}, IMAGES),
    ("LPPool1d", {"norm_type": 2, "kernel_size": 3}, LINES),
    ("LPPool2d", {"norm_type": 2, "kernel_size": 2, "stride": 1}, IMAGES),
    ("BatchNorm1d", {"num_features": 4}, ROWS), ("BatchNorm1d", {"num_features": 4, "momentum": None}, LINES),
    ("BatchNorm2d", {"num_features": 4}, IMAGES),
    ("BatchNorm2d", {"num_features": 4, "eps": 0.1, "momentum": 0.4, "affine": False}, IMAGES),
    ("BatchNorm2d", {"num_features": 4, "track_running_stats": False}, IMAGES),
    ("InstanceNorm1d", {"num_features": 4}, LINES),
    ("InstanceNorm2d", {"num_features": 4, "affine": True, "track_running_stats": True}, IMAGES),
    ("LayerNorm", {"normalized_shape": 5}, IMAGES),
    ("LayerNorm", {"normalized_shape": (6, 5), "eps": 0.1, "bias": False}, IMAGES),
    ("LayerNorm", {"normalized_shape": (5,), "elementwise_affine": False}, IMAGES),
    ("RMSNorm", {"normalized_shape": 5}, IMAGES), ("RMSNorm", {"normalized_shape": (6, 5), "eps": 0.1}, IMAGES),
    ("GroupNorm", {"num_groups": 2, "num_channels": 4}, IMAGES),
    ("GroupNorm", {"num_groups": 4, "num_channels": 4, "eps": 0.1, "affine": False}, LINES),
    ("LocalResponseNorm", {"size": 3}, IMAGES),
    ("LocalResponseNorm", {"size": 2, "alpha": 0.1, "beta": 0.5, "k": 2.0}, IMAGES),
    ("Dropout", {"p": 0.0}, ROWS), ("Dropout2d", {"p": 0.0}, IMAGES), ("AlphaDropout", {"p": 0.0}, ROWS),
    ("Upsample", {"scale_factor": 2}, IMAGES),
    ("Upsample", {"size": (9, 7), "mode": "bilinear", "align_corners": True}, IMAGES),
    ("PixelShuffle", {"upscale_factor": 2}, IMAGES), ("PixelUnshuffle", {"downscale_factor": 2}, (2, 3, 4, 6)),
    ("ChannelShuffle", {"groups": 2}, IMAGES),
    ("Unfold", {"kernel_size": (2, 3)}, IMAGES), ("Fold", {"output_size": (4, 3), "kernel_size": 2}, (2, 8, 6)),
    ("ZeroPad1d", {"padding": 2}, LINES), ("ZeroPad2d", {"padding": (1, 2, 0, 3)}, IMAGES),
    ("ConstantPad1d", {"padding": (1, 2), "value": 0.5}, LINES),
    ("ConstantPad2d", {"padding": 1, "value": 3.0}, IMAGES),
    ("ReflectionPad1d", {"padding": 2}, LINES), ("ReflectionPad2d", {"padding": (1, 2, 3, 0)}, IMAGES),
    ("ReplicationPad1d", {"padding": 2}, LINES), ("ReplicationPad2d", {"padding": 1}, IMAGES),
    ("CircularPad1d", {"padding": 2}, LINES), ("CircularPad2d", {"padding": (1, 0, 2, 3)}, IMAGES),
    ("ReLU", {}, ROWS), ("ReLU", {"inplace": True}, ROWS), ("ReLU6", {}, ROWS), ("LeakyReLU", {}, ROWS),
    ("LeakyReLU", {"negative_slope": 0.3, "inplace": True}, ROWS), ("ELU", {"alpha": 2.0}, ROWS), ("SELU", {}, ROWS),
    ("CELU", {"alpha": 0.5}, ROWS), ("GELU", {}, ROWS), ("GELU", {"approximate": "tanh"}, ROWS), ("SiLU", {}, ROWS),
    ("Mish", {}, ROWS), ("Hardswish", {}, ROWS), ("Hardsigmoid", {}, ROWS), ("Hardtanh", {}, ROWS),
    ("Hardtanh", {"min_val": -0.5, "max_val": 0.2, "inplace": True}, ROWS), ("Softplus", {}, ROWS),
    ("Softplus", {"beta": 2.0, "threshold": 1.0}, ROWS), ("Softsign", {}, ROWS), ("Softshrink", {"lambd": 0.2}, ROWS),
    ("Hardshrink", {"lambd": 0.2}, ROWS), ("Tanhshrink", {}, ROWS),
    ("Threshold", {"threshold": 0.1, "value": 2.0}, ROWS),
    ("LogSigmoid", {}, ROWS), ("GLU", {"dim": 1}, ROWS), ("GLU", {}, ROWS), ("Sigmoid", {}, ROWS), ("Tanh", {}, ROWS),
    ("Softmax", {"dim": 1}, IMAGES), ("Softmin", {"dim": -1}, ROWS), ("LogSoftmax", {"dim": 1}, ROWS),
    ("Softmax2d", {}, IMAGES), ("PReLU", {}, IMAGES), ("PReLU", {"num_parameters": 4, "init": 0.1}, IMAGES),
]
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(LAYERS)]


def pair(torch, name, arguments):
    """Our layer and torch's, float64, with the same random state."""
    mine = getattr(nn, name)(**arguments).double()
    theirs = getattr(torch.nn, name)(**arguments).double()
    rng = np.random.default_rng(1)
    state = {k: rng.uniform(0.5, 2.0, v.shape) if v.dtype.kind == "f" else v for k, v in mine.state_dict().items()}
    mine.load_state_dict(state)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    return mine, theirs


def inputs(shapes):
    rng = np.random.default_rng(2)
    return [rng.standard_normal(s) for s in (shapes if isinstance(shapes, list) else [shapes])]


def close(actual, expected, rtol=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-11)


@pytest.mark.parametrize("name,arguments,shape", LAYERS, ids=IDS)
def test_repr_and_state_are_torchs(name, arguments, shape):
    torch = pytest.importorskip("torch")
    mine, theirs = getattr(nn, name)(**arguments), getattr(torch.nn, name)(**arguments)
    assert repr(mine) == repr(theirs)
    described = {k: (v.shape, v.dtype) for k, v in mine.state_dict().items()}
    assert described == {k: (tuple(v.shape), v.numpy().dtype) for k, v in theirs.state_dict().items()}
    assert list(described) == list(theirs.state_dict())
    assert [n for n, _ in mine.named_parameters()] == [n for n, _ in theirs.named_parameters()]


@pytest.mark.parametrize("name,arguments,shape", LAYERS, ids=IDS)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_results_gradients_and_buffers_are_torchs(name, arguments, shape, training):
    torch = pytest.importorskip("torch")
    mine, theirs = pair(torch, name, arguments)
    mine.train(training), theirs.train(training)
    for _ in range(2):                                  # twice: running statistics move
        arrays = inputs(shape)
        ours = [tc.Tensor(a, requires_grad=True) for a in arrays]
        others = [torch.tensor(a, requires_grad=True) for a in arrays]
        y, expected = mine(*ours), theirs(*[o + 0 for o in others])     # a leaf may not be changed in place
        g = np.random.default_rng(3).standard_normal(y.shape)
        y.backward(tc.Tensor(g)), expected.backward(torch.tensor(g))
        close(y.numpy(), expected.detach().numpy())
        for a, b in zip([*ours, *mine.parameters()], [*others, *theirs.parameters()]):
            close(a.grad.numpy(), b.grad.numpy(), 1e-7 if name == "Hardsigmoid" else 1e-9)    # torch: 1/6 in float32
        mine.zero_grad(), theirs.zero_grad()
    for k, v in theirs.state_dict().items():
        close(mine.state_dict()[k], v.numpy())


@pytest.mark.parametrize("name", sorted({name for name, *_ in LAYERS}))
def test_signature_is_torchs(name):
    torch = pytest.importorskip("torch")
    mine, theirs = (inspect.signature(getattr(library, name)) for library in (nn, torch.nn))
    described = [(p.name, p.default) for p in mine.parameters.values() if not p.kind.name.startswith("VAR")]
    expected = [(p.name, p.default) for p in theirs.parameters.values() if not p.kind.name.startswith("VAR")]
    if name in ("Softmax", "LogSoftmax", "Softmin"):            # torch guesses a dim, and warns
        assert described == [("dim", inspect.Parameter.empty)]
    else:
        assert described == [(n, v) for n, v in expected if n not in ("min_value", "max_value")]    # deprecated


# ---------------------------------------------------------------------------------------- losses

CLASSES, SIGNS = np.array([0, 2, 1]), np.array([1.0, -1.0, 1.0])
X, Y = (np.random.default_rng(n).uniform(0.05, 0.95, (3, 4)) for n in (5, 6))
LOSSES = [
    ("CrossEntropyLoss", {"ignore_index": 1, "label_smoothing": 0.1}, (X, CLASSES)), ("NLLLoss", {}, (X, CLASSES)),
    ("MSELoss", {}, (X, Y)), ("L1Loss", {}, (X, Y)), ("SmoothL1Loss", {"beta": 0.3}, (X, Y)),
    ("HuberLoss", {"delta": 0.3}, (X, Y)), ("BCELoss", {}, (X, Y)), ("BCEWithLogitsLoss", {}, (X, Y)),
    ("KLDivLoss", {"log_target": True}, (X, Y)), ("MarginRankingLoss", {"margin": 0.2}, (X[:, 0], X[:, 1], SIGNS)),
    ("HingeEmbeddingLoss", {"margin": 0.7}, (X, np.sign(Y - 0.5))),
    ("CosineEmbeddingLoss", {"margin": 0.1}, (X, Y, SIGNS)), ("TripletMarginLoss", {"swap": True}, (X, Y, X[::-1])),
    ("SoftMarginLoss", {}, (X, np.sign(Y - 0.5))), ("MultiMarginLoss", {"p": 2, "margin": 0.5}, (X, CLASSES)),
    ("MultiLabelMarginLoss", {}, (X, np.array([[1, -1, 0, 2], [0, 2, -1, 1], [-1, 0, 0, 0]]))),
    ("MultiLabelSoftMarginLoss", {}, (X, np.round(Y))), ("PoissonNLLLoss", {"log_input": False, "full": True}, (X, Y)),
    ("GaussianNLLLoss", {"full": True}, (X, Y, Y + 0.1)),
    ("CosineSimilarity", {"dim": 0}, (X, Y)), ("PairwiseDistance", {"p": 3.0, "keepdim": True}, (X, Y)),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name,options,arrays", LOSSES, ids=[name for name, *_ in LOSSES])
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")
def test_losses_are_torchs(name, options, arrays, reduction):
    torch = pytest.importorskip("torch")
    if name.endswith("Loss"):
        options = {**options, "reduction": reduction}
    mine, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    assert repr(mine) == repr(theirs)
    ours = [tc.Tensor(a.copy(), requires_grad=i == 0) for i, a in enumerate(arrays)]
    others = [torch.tensor(a.copy(), requires_grad=i == 0) for i, a in enumerate(arrays)]
    y, expected = mine(*ours), theirs(*others)
    close(y.numpy(), expected.detach().numpy())
    y.sum().backward(), expected.sum().backward()
    close(ours[0].grad.numpy(), others[0].grad.numpy())


@pytest.mark.parametrize("name,weights", [("CrossEntropyLoss", ["weight"]), ("NLLLoss", ["weight"]),
                                          ("MultiMarginLoss", ["weight"]),
                                          ("BCEWithLogitsLoss", ["weight", "pos_weight"])])
def test_weights_of_losses_are_buffers(name, weights):
    torch = pytest.importorskip("torch")
    w = np.array([1.0, 2.0, 0.5, 1.5])
    mine = getattr(nn, name)(**{k: tc.Tensor(w) for k in weights})
    theirs = getattr(torch.nn, name)(**{k: torch.tensor(w) for k in weights})
    assert [n for n, _ in mine.named_buffers()] == list(mine.state_dict()) == list(theirs.state_dict()) == weights
    target = Y if name == "BCEWithLogitsLoss" else CLASSES
    close(mine(tc.Tensor(X), target).item(), theirs(torch.tensor(X), torch.tensor(target)).item())
    assert mine.float().state_dict()["weight"].dtype == np.float32


# ---------------------------------------------------------------------------------------- what only layers do

LAZY = [("LazyLinear", (5,), {}, IMAGES), ("LazyConv1d", (6, 3), {"padding": 1}, LINES),
        ("LazyConv2d", (6, 3), {"groups": 2, "bias": False}, IMAGES), ("LazyConvTranspose1d", (6, 3), {}, LINES),
        ("LazyConvTranspose2d", (6, 3), {"stride": 2}, IMAGES), ("LazyBatchNorm1d", (), {"affine": False}, ROWS),
        ("LazyBatchNorm2d", (), {"momentum": 0.3}, IMAGES)]


@pytest.mark.parametrize("name,args,kwargs,shape", LAZY, ids=[name for name, *_ in LAZY])
def test_lazy_layers_become_ordinary_ones_that_their_optimizer_knows(name, args, kwargs, shape):
    layer = getattr(nn, name)(*args, **kwargs)
    assert repr(layer).startswith(f"{name}(0")
    before = dict(layer.named_parameters())
    x = tc.randn(*shape)
    tc.manual_seed(3)
    y = layer(x)
    tc.manual_seed(3)
    size = shape[-1] if name == "LazyLinear" else shape[1]
    ordinary = getattr(nn, name.removeprefix("Lazy"))(size, *args, **kwargs)
    assert type(layer) is type(ordinary) and repr(layer) == repr(ordinary)
    assert list(layer.state_dict()) == list(ordinary.state_dict())
    np.testing.assert_array_equal(y.numpy(), ordinary(x).numpy())
    for n, p in layer.named_parameters():
        assert p is before[n] and type(p) is nn.Parameter


def test_a_lazy_model_in_double_with_hooks_and_an_optimizer_made_first():
    model = nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2)).double()
    optimizer, seen = tc.optim.SGD(model.parameters(), lr=0.1), []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model(tc.randn(2, 1, 6, 6, dtype=np.float64)).sum().backward()
    before = model[3].bias.numpy().copy()
    optimizer.step()
    assert seen == [(2, 3, 4, 4)] and model[3].weight.shape == (2, 48)
    np.testing.assert_allclose(model[3].bias.numpy(), before - 0.2)
    assert {v.dtype for v in model.state_dict().values()} == {np.dtype("float64"), np.dtype("int64")}


@pytest.mark.parametrize("use", [
    lambda m: m.weight.shape, lambda m: m.weight.data, lambda m: m.state_dict(), lambda m: m.weight + 1,
    lambda m: nn.init.xavier_uniform_(m.weight), lambda m: m.load_state_dict({"weight": np.ones((5, 3))}, strict=False),
], ids=["shape", "data", "state_dict", "add", "init", "load"])
def test_lazy_parameters_cannot_be_used_before_the_first_call(use):
    with pytest.raises(ValueError, match=r"LazyLinear.weight has no shape yet: call the model once"):
        use(nn.LazyLinear(5))


def test_a_lazy_layer_refuses_wrong_options_and_inputs():
    with pytest.raises(TypeError, match="out_channels"):
        nn.LazyConv2d(kernel_size=3)
    with pytest.raises(ValueError, match=r"LazyConv2d.*: the first input has shape \(3, 4\)"):
        nn.LazyConv2d(4, 3)(tc.randn(3, 4))


def test_printing_draws_no_random_numbers():
    state = tc.get_rng_state()["state"]["counter"].copy()
    repr(nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyLinear(2)))
    np.testing.assert_array_equal(tc.get_rng_state()["state"]["counter"], state)


@pytest.mark.parametrize("name,shape", [("Dropout", (50, 40)), ("Dropout1d", (50, 40, 3)),
                                        ("Dropout2d", (50, 40, 3, 2)), ("Dropout3d", (50, 40, 1, 2, 2))])
def test_dropout_drops_in_training_only_whole_channels_where_it_should(name, shape):
    layer, x = getattr(nn, name)(0.3), tc.ones(shape)
    y = layer(x).numpy().reshape(50, 40, -1)
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)
    assert 0.64 < kept[..., 0].mean() < 0.76 and (kept == kept[..., :1]).all()
    assert not np.array_equal(layer(x).numpy().reshape(50, 40, -1), y)
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    np.testing.assert_array_equal(getattr(nn, name)(1.0)(x).numpy(), 0)


def test_alpha_dropout_keeps_mean_and_variance():
    y = nn.AlphaDropout(0.2)(tc.randn(400, 400)).numpy()
    assert abs(y.mean()) < 0.02 and abs(y.std() - 1) < 0.02


def test_random_leaky_relu_draws_slopes_in_training_only():
    layer, x = nn.RReLU(0.1, 0.3), -tc.ones(1000)
    slopes = -layer(x).numpy()
    assert 0.1 <= slopes.min() < 0.11 and 0.29 < slopes.max() <= 0.3
    np.testing.assert_allclose(layer.eval()(x).numpy(), -0.2, rtol=1e-6)


def test_embedding():
    torch = pytest.importorskip("torch")
    weight = np.random.default_rng(0).standard_normal((5, 3))
    mine = nn.Embedding(5, 3, padding_idx=-1, max_norm=1.5, scale_grad_by_freq=True, dtype=np.float64)
    theirs = torch.nn.Embedding(5, 3, padding_idx=-1, max_norm=1.5, scale_grad_by_freq=True, dtype=torch.float64)
    assert repr(mine) == repr(theirs) and not mine.weight.numpy()[4].any()
    mine.load_state_dict({"weight": weight})
    theirs.load_state_dict({"weight": torch.tensor(weight)})
    rows = np.array([[0, 1, 1], [4, 2, 1]])
    y, expected = mine(rows), theirs(torch.tensor(rows))
    y.sum().backward(), expected.sum().backward()
    close(y.numpy(), expected.detach().numpy()), close(mine.weight.grad.numpy(), theirs.weight.grad.numpy(), 1e-6)
    frozen = nn.Embedding.from_pretrained(tc.Tensor(weight))
    assert not frozen.weight.requires_grad and frozen.weight.data is not weight
    np.testing.assert_array_equal(frozen(rows).numpy(), weight[rows])


def test_max_pool_with_indices_and_back():
    x = tc.randn(2, 3, 6, 4)
    y, where = nn.MaxPool2d(2, return_indices=True)(x)
    back = nn.MaxUnpool2d(2)(y, where).numpy()
    assert back.shape == x.shape and np.count_nonzero(back) == y.numel()
    np.testing.assert_array_equal(back[back != 0], x.numpy()[back != 0])


def test_transposed_convolution_reaches_an_output_size():
    layer = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1)
    assert layer(tc.randn(1, 3, 5, 5), output_size=(10, 9)).shape == (1, 2, 10, 9)
    with pytest.raises(ValueError, match="output_size"):
        layer(tc.randn(1, 3, 5, 5), output_size=(11, 9))


def test_a_refused_batch_leaves_batch_norm_as_it_was():
    norm = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="one value per channel"):
        norm(tc.randn(1, 3))
    assert norm.num_batches_tracked.item() == 0 and not norm.running_mean.numpy().any()
    norm(tc.randn(4, 3))
    norm.reset_running_stats()
    assert norm.num_batches_tracked.item() == 0 and not norm.running_mean.numpy().any()


@pytest.mark.parametrize("make", [
    lambda **o: nn.Linear(3, 2, **o), lambda **o: nn.Conv2d(3, 2, 1, **o), lambda **o: nn.ConvTranspose2d(3, 2, 1, **o),
    lambda **o: nn.BatchNorm2d(3, **o), lambda **o: nn.LayerNorm(3, **o), lambda **o: nn.GroupNorm(1, 3, **o),
    lambda **o: nn.PReLU(**o), lambda **o: nn.Embedding(3, 2, **o), lambda **o: nn.Bilinear(3, 2, 2, **o)])
def test_dtype_and_device_of_new_layers(make):
    kinds = {t.dtype for t in [*make().parameters(), *make().buffers()]} - {np.dtype("int64")}
    assert kinds == {np.dtype("float32")}
    layer = make(dtype=np.float64, device="cpu")
    assert {t.dtype for t in [*layer.parameters(), *layer.buffers()]} - {np.dtype("int64")} == {np.dtype("float64")}
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        make(device="gpu")
