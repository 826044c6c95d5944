"""Every model of the registry: it builds, learns, is right in its gradients, survives a file; and the registry."""
from functools import cache
from importlib import import_module

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.data import list_datasets
from tinycnn.gradcheck import ModelFunction, projections
from tinycnn.models import (
    ModelInfo,
    create_model,
    list_models,
    model_info,
    recipe,
    register_family,
    register_model,
    registry,
)
from tinycnn.nn import functional as F
from tinycnn.summary import minimum_input
from tinycnn.train import Config

regnet, resnet = (import_module(f"tinycnn.models.{family}") for family in ("regnet", "resnet"))

CHEAP = 3_000_000                                    # parameters of the models that the default run trains
DEEP = {"resnet110_cifar", "resnet1202_cifar", "regnet_y_200mf", "densenet100_12_cifar", "densenet_bc100_12_cifar"}
models = pytest.mark.parametrize("name", list_models())
trained = pytest.mark.parametrize("name", [
    pytest.param(n, marks=() if model_info(n).parameters < CHEAP and n not in DEEP else pytest.mark.slow)
    for n in list_models()])
# Where gradients are checked: an image that is small, but lets every layer see several positions, and a step that takes
# none of the many ReLUs and maxima across its kink.
CHECKED = {"resnet18_d2l": ((1, 33, 33), 1e-9)}


@cache
def side(name):
    """Of small images that all layers take: 32 or 64 pixels, or what the last map needs, or what it was made for."""
    with nn.init.skip_init():
        model = create_model(name).eval()
    for n in (32, 64, 96) if model_info(name).input_shape[2] <= 32 else (64, 96):
        try:
            model(tc.zeros((0, model_info(name).input_shape[1], n, n)))
        except ValueError:
            continue
        return n if name not in ("googlenet_paper", "inception_v3") else model_info(name).input_shape[2]
    return model_info(name).input_shape[2]


def images(name, batch=2, channels=None, dtype="float32"):
    """A batch of noise."""
    c = channels or model_info(name).input_shape[1]
    return tc.tensor(np.random.default_rng(1).standard_normal((batch, c, side(name), side(name))).astype(dtype))


def logits_of(output):
    """The logits, without those of auxiliary heads."""
    return output[0] if isinstance(output, tuple) else output


def state_bytes(model):
    return {k: (v.dtype, v.shape, v.tobytes()) for k, v in model.state_dict().items()}


# ---------------------------------------------------------------------------------------- each model

@models
def test_options(name):
    """Other classes and channels change the first layer and the last ones; on an empty batch nothing is computed."""
    channels = 4 - model_info(name).input_shape[1]
    dtype = np.dtype("float64" if model_info(name).parameters < 70_000_000 else "float32")
    with nn.init.skip_init():
        model = create_model(name, num_classes=7, in_channels=channels, dtype=dtype).eval()
        default = create_model(name)
    assert {p.dtype for p in model.parameters()} == {dtype}
    y = model(tc.zeros((0, channels, side(name), side(name)), dtype=dtype))
    assert y.shape == (0, 7) and y.dtype == dtype
    assert {p.dtype for p in default.parameters()} == {np.dtype("float32")}
    state = model.state_dict()
    changed = [k for k, v in default.state_dict().items() if v.shape != state[k].shape]
    assert changed[0] == next(iter(dict(default.named_parameters())))
    aux = [f"{a}.{last}" for a in getattr(default, "aux", ()) for last in list(dict(default.get_submodule(a)
                                                                                  .named_children()))[-1:]]
    last = [default.classifier_path(), *aux]
    others = [k for k in changed[1:] if k.rpartition(".")[0] not in last]
    assert not others or name == "nin_d2l" and {k.split(".")[0] for k in others} == {"7"} or others == ["output.codes"]


@models
def test_parts(name):
    """Stem, body and head are the whole model; features and head make the logits."""
    with nn.init.skip_init():
        model = create_model(name).eval()
    x = tc.zeros((0, model_info(name).input_shape[1], side(name), side(name)))
    assert [n for part in model.part_names.values() for n in part] == list(dict(model.named_children()))
    features = model.forward_features(x)
    assert model.forward_head(features).shape == model(x).shape
    assert model.forward_head(features, pre_logits=True).shape[0] == 0
    maps = create_model(name, features_only=True).eval()(x) if model_info(name).parameters < CHEAP else \
        model.forward_intermediates(x)
    sizes = [m.shape[2:] for m in maps if m.ndim == 4]
    assert sizes == sorted(set(sizes), reverse=True)
    model.reset_classifier(3)
    assert model(x).shape == (0, 3)
    assert list(model.head.modules())[-1] is list(model.modules())[-1]


@trained
def test_a_trained_step(name):
    """Forward, backward and a file, in training mode."""
    model = create_model(name, num_classes=10)
    output = model(images(name))
    weights = (1.0, *getattr(model, "aux_weights", ()))
    sum(w * F.cross_entropy(logits, np.array([3, 7])) for w, logits in
        zip(weights, output if isinstance(output, tuple) else (output,))).backward()
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in model.parameters())


@trained
def test_a_step_down_the_gradient_lowers_the_loss(name):
    model, x, labels = create_model(name, num_classes=10), images(name, batch=4), np.arange(4)
    for m in model.modules():
        if isinstance(m, (nn.Dropout, nn.StochasticDepth)):
            m.p = 0.0

    def loss():
        return F.cross_entropy(logits_of(model(x)), labels)
    before = loss()
    before.backward()
    gradients = {k: p.grad for k, p in model.named_parameters()}
    assert all(g is not None and g.dtype == np.float32 and np.isfinite(g.numpy()).all() for g in gradients.values())
    length = sum(float((g * g).sum()) for g in gradients.values())
    for k, p in model.named_parameters():
        p.data = p.data - 0.002 / length * gradients[k].numpy()
    assert float(loss()) == pytest.approx(float(before) - 0.002, abs=0.001)


@pytest.mark.parametrize("name", ["bn_lenet", "digits_net", "lenet", "lenet5", "resnet18_d2l"])
def test_gradients_agree_with_differences(name):
    """The input and all parameters at once along a random direction, with batch statistics."""
    model = create_model(name, dtype="float64")
    shape, eps = CHECKED.get(name, (model_info(name).input_shape[1:], 1e-7))
    x = np.random.default_rng(0).standard_normal((3, *shape))
    logits = ModelFunction(model, x, ["input", *dict(model.named_parameters())])
    [found] = projections(logits, logits.point(), eps, directions=1)
    assert abs(found.numeric.item()) > 1
    assert found.analytic.item() == pytest.approx(found.numeric.item(), rel=1e-6, abs=0)


@trained
def test_state_survives_a_file_bit_for_bit(name, tmp_path):
    model = create_model(name, num_classes=3)
    model(images(name, batch=3))                     # running statistics that are no longer zeros and ones
    tc.save(model.state_dict(), tmp_path / "model.tc")
    tc.manual_seed(99)
    other = create_model(name, num_classes=3)
    assert state_bytes(other) != state_bytes(model)
    other.load_state_dict(tc.load(tmp_path / "model.tc"))
    assert state_bytes(other) == state_bytes(model)
    x = images(name)
    with tc.no_grad():
        assert other.eval()(x).numpy().tobytes() == model.eval()(x).numpy().tobytes()


@trained
def test_evaluation_repeats_and_changes_nothing(name):
    model, x = create_model(name).eval(), images(name, batch=3)
    before = state_bytes(model)
    with tc.no_grad():
        first, again, alone = model(x).numpy(), model(x).numpy(), model(x[:1]).numpy()
    assert first.tobytes() == again.tobytes() and state_bytes(model) == before
    np.testing.assert_allclose(alone, first[:1], rtol=1e-4, atol=1e-5)


@trained
def test_seed_decides_the_weights(name):
    made = []
    for seed in (3, 3, 4):
        tc.manual_seed(seed)
        made.append(state_bytes(create_model(name)))
    assert made[0] == made[1] != made[2]


@models
def test_info(name):
    """The stored sizes are those of the model."""
    info = model_info(name)
    assert isinstance(info, ModelInfo) and info.name == name and info.paper and 1990 < info.year < 2030
    assert info.build is getattr(tc.models, name)    # models.lenet() works too
    with nn.init.skip_init():
        assert info.parameters == sum(p.numel() for p in create_model(name).parameters())
    assert (info.parameters, info.macs) == info.counted()


# What papers, their authors' code and torchvision say; torchvision's own are in golden/.
PUBLISHED = {
    "lenet5": 60_000, "alexnet_2012": 60_965_224, "vgg16_c": 133_638_952, "vgg19": 143_667_240, "vgg13_bn": 133_053_736,
    "vgg13_d2l": 128_990_666, "vgg16_d2l": 134_300_362, "vgg19_d2l": 139_610_058, "nin_cifar": 966_986,
    "nin_imagenet": 7_595_176, "googlenet_paper": 13_378_280, "inception_v3": 27_161_264, "resnet34_d2l": 21_290_250,
    "resnet34": 21_797_672, "resnet101": 44_549_160, "resnet152": 60_192_808, "resnet20_cifar": 269_722,
    "resnet32_cifar": 464_154, "resnet44_cifar": 658_586, "resnet56_cifar": 853_018, "resnet110_cifar": 1_727_962,
    "resnet1202_cifar": 19_421_274, "resnext101_32x8d": 88_791_336, "resnext101_64x4d": 83_455_272,
    "resnext29_8x64d_cifar": 34_426_698, "resnext29_16x64d_cifar": 68_155_210, "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696, "densenet161": 28_681_000, "densenet169": 14_149_480, "densenet201": 20_013_928,
    "densenet40_12_cifar": 1_019_722, "densenet100_12_cifar": 6_979_642, "densenet_bc100_12_cifar": 769_162,
    "densenet_bc250_24_cifar": 15_324_406, "densenet_bc190_40_cifar": 25_624_430, "regnet_x_800mf": 7_259_656,
    "regnet_x_1_6gf": 9_190_136, "regnet_x_3_2gf": 15_296_552, "regnet_x_8gf": 39_572_648, "regnet_x_16gf": 54_278_536,
    "regnet_x_32gf": 107_811_560, "regnet_y_800mf": 6_432_512, "regnet_y_1_6gf": 11_202_430, "regnet_y_8gf": 39_381_472,
    "regnet_y_3_2gf": 19_436_338, "regnet_y_32gf": 145_046_770, "convnext_small": 50_223_688,
    "convnext_base": 88_591_464, "convnext_large": 197_767_336, "squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496,
    "mobilenet_v2": 3_504_872, "digits_net": 36_050}


@pytest.mark.parametrize("name, parameters", PUBLISHED.items())
def test_published_sizes(name, parameters):
    assert model_info(name).parameters == parameters


@pytest.mark.parametrize("name, pixels", {
    "lenet": 12, "bn_lenet": 16, "alexnet": 63, "alexnet_d2l": 65, "vgg11": 32, "vgg11_small_d2l": 32, "nin_d2l": 67,
    "googlenet": 15, "googlenet_d2l": 1, "inception_v3": 75, "resnet50": 1, "resnet18_d2l": 1, "densenet121": 29,
    "densenet_d2l": 29, "regnet_y_400mf": 1, "regnetx32_d2l": 1, "convnext_tiny": 32, "squeezenet1_0": 21,
    "squeezenet1_1": 17, "mobilenet_v2": 1}.items())
def test_smallest_images(name, pixels):
    with nn.init.skip_init():
        assert minimum_input(create_model(name)) == pixels


def test_info_does_not_touch_the_random_numbers():
    before = tc.get_rng_state()
    info = model_info("lenet")
    assert ModelInfo(info.name, info.build, info.paper, info.year, info.input_shape).macs == info.macs
    np.testing.assert_equal(tc.get_rng_state(), before)


# ---------------------------------------------------------------------------------------- recipes

@models
def test_recipes_are_settings_of_a_run(name):
    for edition in model_info(name).recipes:
        for data in (None, *list_datasets()):
            settings = recipe(name, data, edition)
            config = Config.from_dict(settings)
            assert config.model == name and config.data == (data or Config.data)
            assert "on" not in settings
    special = [data for chosen in model_info(name).recipes.values() for data in chosen.get("on", {})]
    assert set(special) <= set(list_datasets())


def test_recipe_of_a_data_set_goes_over_the_general_one():
    general, digits = recipe("digits_net"), recipe("digits_net", "digits")
    changed = model_info("digits_net").recipes["default"]["on"]["digits"]
    assert digits == {**general, **changed, "data": "digits"} and general["epochs"] != digits["epochs"]
    assert recipe("digits_net", "mnist") == {**general, "data": "mnist"}


def test_recipe_is_a_copy():
    recipe("lenet")["lr"] = 1e9
    assert recipe("lenet")["lr"] < 1


@pytest.mark.parametrize("name, rate", [("lenet", 0.1), ("bn_lenet", 0.1), ("alexnet_d2l", 0.01), ("nin_d2l", 0.05),
                                        ("vgg11_small_d2l", 0.01), ("googlenet_d2l", 0.01), ("resnet18_d2l", 0.01),
                                        ("densenet_d2l", 0.01), ("regnetx32_d2l", 0.05)])
def test_the_books_recipes(name, rate):
    side = model_info(name).input_shape[2]
    assert recipe(name, "fashion_mnist", "book") == {
        "optimizer": "sgd", "momentum": 0.0, "lr": rate, "batch_size": 128, "epochs": 10, "schedule": "constant",
        "model": name, "data": "fashion_mnist", "image_size": 0 if side == 28 else side, "mean": (0.0,), "std": (1.0,)}


def test_recipe_that_is_none():
    with pytest.raises(ValueError, match="model 'digits_net' has no recipe 'book': there are default"):
        recipe("digits_net", edition="book")
    with pytest.raises(ValueError, match="no model is called 'lenot'"):
        recipe("lenot")


# ---------------------------------------------------------------------------------------- registry

def test_list_models():
    assert list_models() == sorted(list_models()) and len(list_models()) >= 80
    assert list_models("*lenet") == ["bn_lenet", "googlenet", "lenet"]
    assert list_models("convnext*") == ["convnext_base", "convnext_large", "convnext_small", "convnext_tiny"]
    assert list_models("lenet") == ["lenet"]
    assert list_models("vit*") == []


@pytest.mark.parametrize("wrong, hint", [
    ("lenett", "did you mean lenet"), ("resnet51", "did you mean resnet5"), ("LeNet", "did you mean lenet"),
    ("vgg_16", "did you mean vgg16"), ("transformer", "there are alexnet, ")])
def test_unknown_model(wrong, hint):
    for ask in (create_model, model_info, recipe):
        with pytest.raises(ValueError) as caught:
            ask(wrong)
        assert str(caught.value).startswith(f"no model is called {wrong!r}: {hint}")


@models
def test_unknown_option(name):
    with pytest.raises(TypeError, match=f"model '{name}' has no option breadth, height: it takes .*num_classes"):
        create_model(name, breadth=2, height=None)


@pytest.fixture
def scratch_registry(monkeypatch):
    monkeypatch.setattr(registry, "MODELS", dict(registry.MODELS))


def test_register_model(scratch_registry):
    @register_model("nobody", 2000, (1, 2, 4, 4))
    def tiny(num_classes=3, in_channels=2, bias=True):
        """One layer."""
        return nn.Sequential(nn.Flatten(), nn.Linear(16 * in_channels, num_classes, bias))
    assert "tiny" in list_models() and model_info("tiny").parameters == 99
    assert recipe("tiny", "digits") == {"model": "tiny", "data": "digits"}
    assert Config.from_dict(recipe("tiny")).model == "tiny"
    assert len(list(create_model("tiny", bias=False).parameters())) == 1
    assert tiny()(tc.zeros((1, 2, 4, 4))).shape == (1, 3)
    with pytest.raises(ValueError, match="model 'tiny' is registered twice"):
        register_model("nobody", 2000, (1, 2, 4, 4))(tiny)


def test_registration_left_no_trace():
    assert "tiny" not in list_models()


# ---------------------------------------------------------------------------------------- first weights

@pytest.mark.parametrize("name, options", [
    ("lenet", {}), ("bn_lenet", {}), ("resnet18_d2l", {}), ("googlenet_d2l", {}), ("nin_d2l", {}),
    ("densenet_d2l", {"xavier_init": True}), ("regnetx32_d2l", {"xavier_init": True})])
def test_the_books_nets_start_from_xavier(name, options):
    """Uniform in [-b, b], b = sqrt(6 / (fan_in + fan_out)): bounded by b and close to it."""
    for path, layer in create_model(name, **options).named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            w = layer.weight.numpy()
            area = int(np.prod(w.shape[2:]))
            bound = np.sqrt(6 / (area * (w.shape[0] + w.shape[1])))
            assert 0.85 * bound < np.abs(w).max() <= bound * (1 + 1e-6), path
            if w.size > 200:
                assert np.abs(w).mean() == pytest.approx(bound / 2, rel=0.15), path


@pytest.mark.parametrize("name", ["densenet_d2l", "regnetx32_d2l"])
def test_the_books_lazy_nets_start_as_layers_do(name):
    """The second edition's init_cnn does not find lazy layers: uniform in +-1/sqrt(fan_in) (see alexnet_d2l)."""
    for path, layer in create_model(name).named_modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 500:
            w = layer.weight.numpy()
            bound = 1 / np.sqrt(np.prod(w.shape[1:]))
            assert 0.97 * bound < np.abs(w).max() <= bound * (1 + 1e-6), path


def deviation(weight):
    return float(weight.numpy().astype("d").std())


FIRST_WEIGHTS = [
    ("alexnet_2012", "features.4.weight", 0.01), ("vgg11", "features.3.weight", (2 / (128 * 9)) ** 0.5),
    ("vgg11", "classifier.0.weight", 0.01), ("googlenet", "inception4a.branch1.conv.weight", 0.01),
    ("inception_v3", "Mixed_6b.branch1x1.conv.weight", 0.1), ("inception_v3", "AuxLogits.conv1.conv.weight", 0.01),
    ("resnet18", "layer1.0.conv1.weight", (2 / (64 * 9)) ** 0.5), ("resnet18", "fc.weight", (1 / (3 * 512)) ** 0.5),
    ("resnet20_cifar", "layer3.1.conv1.weight", (2 / (64 * 9)) ** 0.5),
    ("resnet20_cifar", "linear.weight", (2 / 64) ** 0.5),
    ("densenet121", "features.denseblock1.denselayer2.conv2.weight", (2 / (128 * 9)) ** 0.5),
    ("regnet_y_400mf", "trunk_output.block3.block3-2.f.b.0.weight", (2 / (208 * 9)) ** 0.5),
    ("regnet_y_400mf", "fc.weight", 0.01), ("convnext_tiny", "features.1.0.block.3.weight", 0.02),
    ("squeezenet1_0", "features.3.expand3x3.weight", (2 / (16 * 9)) ** 0.5),
    ("squeezenet1_0", "classifier.1.weight", 0.01),
    ("mobilenet_v2", "features.18.0.weight", (2 / 1280) ** 0.5), ("mobilenet_v2", "classifier.1.weight", 0.01)]


@cache
def first_deviations(name):
    """Of the weights of FIRST_WEIGHTS, all from one model: the large ones take seconds to draw."""
    tc.manual_seed(0)
    model = dict(create_model(name).named_parameters())
    return {path: deviation(model[path]) for of, path, _ in FIRST_WEIGHTS if of == name}


@pytest.mark.parametrize("name, path, std", [
    pytest.param(*row, marks=pytest.mark.slow if row[0] == "vgg11" else ()) for row in FIRST_WEIGHTS])
def test_first_weights_have_the_papers_deviation(name, path, std):
    assert first_deviations(name)[path] == pytest.approx(std, rel=0.06)


def test_biases_and_scales():
    alexnet, convnext = create_model("alexnet_2012"), create_model("convnext_tiny", layer_scale=0.25)
    ones = [path for path, p in alexnet.named_parameters() if path.endswith("bias") and (p.numpy() == 1).all()]
    assert ones == ["features.4.bias", "features.10.bias", "features.12.bias", "classifier.0.bias", "classifier.3.bias"]
    assert (convnext.features[1][0].layer_scale.numpy() == 0.25).all()
    rates = [m.p for m in convnext.modules() if isinstance(m, nn.StochasticDepth)]
    np.testing.assert_allclose(rates, np.arange(18) / 17 * 0.1)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_zero_init_residual(name):
    """Every block starts as its shortcut."""
    model = create_model(name, zero_init_residual=True).eval()
    x = tc.ones((1, 64 if name == "resnet18" else 256, 3, 3))
    np.testing.assert_array_equal(model.layer1[1](x).numpy(), x.numpy())


def test_dilation_keeps_the_resolution():
    with nn.init.skip_init():
        model = create_model("resnet50", replace_stride_with_dilation=[False, True, True]).eval()
    assert model.forward_features(tc.zeros((0, 3, 64, 64))).shape == (0, 2048, 8, 8)
    assert [model.layer4[i].conv2.dilation for i in range(3)] == [(2, 2), (4, 4), (4, 4)]
    with pytest.raises(ValueError, match="must have 3 entries"):
        create_model("resnet50", replace_stride_with_dilation=[True])
    with pytest.raises(ValueError, match="only Bottleneck"):
        create_model("resnet18", groups=2)


def test_auxiliary_heads():
    tc.manual_seed(0)
    model = create_model("googlenet", num_classes=10)
    x = tc.rand((2, 3, 64, 64))
    logits, aux2, aux1 = model(x)
    assert logits.shape == aux2.shape == aux1.shape == (2, 10) and model.aux_weights == (0.3, 0.3)
    assert model.eval()(x).shape == (2, 10)
    assert create_model("googlenet", num_classes=10, aux_logits=False)(x).shape == (2, 10)
    assert {p for p, _ in create_model("googlenet").named_parameters() if p.startswith("aux")}
    model.train().reset_classifier(4)
    assert [y.shape for y in model(x)] == [(2, 4)] * 3


def test_features_only():
    net = create_model("resnet18", features_only=True, out_indices=(1, 4))
    assert [y.shape for y in net(tc.zeros((1, 3, 64, 64)))] == [(1, 64, 16, 16), (1, 512, 2, 2)]
    assert "net.fc.weight" not in net.state_dict()
    with pytest.raises(TypeError, match="goes with features_only=True"):
        create_model("resnet18", out_indices=(1,))


def test_another_classifier():
    with nn.init.skip_init():
        model = create_model("vgg11", num_classes=5)
    model.reset_classifier(0)
    assert model(tc.zeros((0, 3, 32, 32))).shape == (0, 4096)
    with pytest.raises(TypeError, match="create the model again"):
        model.reset_classifier(3)


def test_regnet_generator():
    found = regnet.quantized_linear(*regnet.X["8gf"])
    assert found == ((2, 5, 15, 1), (80, 240, 720, 1920), (80, 120, 120, 120))
    assert regnet.quantized_linear(*regnet.Y["3_2gf"])[:2] == ((2, 5, 13, 1), (72, 216, 576, 1512))
    for wrong in ((10, 20, 1.0, 2.0, 8), (10, 24, -1.0, 2.0, 8), (10, 24, 1.0, 1.0, 8)):
        with pytest.raises(ValueError, match="w_0="):
            regnet.quantized_linear(*wrong)


def test_anynet_has_its_free_parameters():
    model = create_model("anynet", depths=(1, 2), widths=(16, 48), group_widths=(8, 24),
                         bottleneck_multipliers=(0.5, 2),
                         stem_width=8, strides=(1, 2), se_ratio=0.25, num_classes=3)
    assert model(tc.zeros((1, 3, 16, 16))).shape == (1, 3)
    assert model.forward_features(tc.zeros((1, 3, 16, 16))).shape == (1, 48, 4, 4)
    assert model.get_submodule("trunk_output.block2.block2-0.f.b.0").groups == 4
    with pytest.raises(ValueError, match="not a multiple of the group width 24"):
        create_model("anynet", widths=(32, 64, 160, 400), group_widths=24)
    with pytest.raises(ValueError, match="must be of one length"):
        create_model("anynet", widths=(32, 64))


def test_adding_a_variant_is_one_line(scratch_registry):
    register_family(resnet.resnet, {"resnet26": {"block": resnet.Bottleneck, "layers": (2, 2, 2, 2)}}, resnet.PAPER,
                    2015, (1, 3, 224, 224))
    assert model_info("resnet26").parameters == 15_995_176 and tc.models.registry.create_model("resnet26") is not None
