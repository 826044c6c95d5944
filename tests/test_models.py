"""Every model of the registry: it builds, learns, is right in its gradients, survives a file; and the registry."""
import sys
from copy import deepcopy

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.autograd import Tensor
from tinycnn.data import list_datasets
from tinycnn.gradcheck import projections
from tinycnn.models import ModelInfo, create_model, list_models, model_info, recipe, register_model, registry
from tinycnn.nn import functional as F
from tinycnn.train import Config

models = pytest.mark.parametrize("name", list_models())
# Where gradients are checked: an image that is small, but lets every layer see several positions, and a step that takes
# none of the many ReLUs and maxima across its kink.
CHECKED = {"resnet18_d2l": ((1, 33, 33), 1e-9)}


def images(name, batch=2, channels=None, dtype="float32"):
    """A batch of noise of the size the model was made for."""
    _, c, h, w = model_info(name).input_shape
    return tc.tensor(np.random.default_rng(1).standard_normal((batch, channels or c, h, w)).astype(dtype))


def state_bytes(model):
    return {k: (v.dtype, v.shape, v.tobytes()) for k, v in model.state_dict().items()}


# ---------------------------------------------------------------------------------------- each model

@models
def test_options(name):
    model = create_model(name, num_classes=7, in_channels=3, dtype="float64")
    assert {p.dtype for p in model.parameters()} == {np.dtype("float64")}
    y = model(images(name, channels=3, dtype="float64"))
    assert y.shape == (2, 7) and y.dtype == np.float64
    default = create_model(name)
    assert {p.dtype for p in default.parameters()} == {np.dtype("float32")}
    changed = {k for k, v in default.state_dict().items() if v.shape != model.state_dict()[k].shape}
    parameters = list(dict(default.named_parameters()))
    assert changed == {parameters[0], *parameters[-2:]}      # the first convolution, the last layer and nothing else


@models
def test_a_step_down_the_gradient_lowers_the_loss(name):
    model, x, labels = create_model(name), images(name, batch=4), np.arange(4)

    def loss():
        return F.cross_entropy(model(x), labels)
    before = loss()
    before.backward()
    gradients = {k: p.grad for k, p in model.named_parameters()}
    assert all(g is not None and g.dtype == np.float32 and np.isfinite(g.numpy()).all() for g in gradients.values())
    length = sum(float((g * g).sum()) for g in gradients.values())
    for k, p in model.named_parameters():
        p.data = p.data - 0.01 / length * gradients[k].numpy()
    assert float(loss()) == pytest.approx(float(before) - 0.01, abs=0.003)


@models
def test_gradients_agree_with_differences(name):
    """The input and all parameters at once along a random direction, with batch statistics."""
    model = create_model(name, dtype="float64")
    twin = deepcopy(model)                           # moved about, while the model's graph stays as it is
    mirror = dict(twin.named_parameters())
    shape, eps = CHECKED.get(name, (model_info(name).input_shape[1:], 1e-7))
    x = Tensor(np.random.default_rng(0).standard_normal((3, *shape)), requires_grad=True)
    named = [("input", x), *model.named_parameters()]

    def logits(*points):
        if all(point is own for point, (_, own) in zip(points, named)):
            return model(x)
        for point, (path, _) in zip(points[1:], named[1:]):
            mirror[path].data = point.data
        return twin(points[0])
    [found] = projections(logits, [v for _, v in named], eps, directions=1)
    assert abs(found.numeric.item()) > 1
    assert found.analytic.item() == pytest.approx(found.numeric.item(), rel=1e-6, abs=0)


@models
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


@models
def test_evaluation_repeats_and_changes_nothing(name):
    model, x = create_model(name).eval(), images(name, batch=3)
    before = state_bytes(model)
    with tc.no_grad():
        first, again, alone = model(x).numpy(), model(x).numpy(), model(x[:1]).numpy()
    assert first.tobytes() == again.tobytes() and state_bytes(model) == before
    np.testing.assert_allclose(alone, first[:1], rtol=1e-4, atol=1e-5)


@models
def test_seed_decides_the_weights(name):
    made = []
    for seed in (3, 3, 4):
        tc.manual_seed(seed)
        made.append(state_bytes(create_model(name)))
    assert made[0] == made[1] != made[2]


@models
def test_info(name):
    info, model = model_info(name), create_model(name)
    assert isinstance(info, ModelInfo) and info.name == name and info.paper and 1990 < info.year < 2030
    assert info.parameters == sum(p.numel() for p in model.parameters())
    assert info.build is getattr(tc.models, name)    # models.lenet() works too
    assert model(images(name)).shape == (2, 10)
    stated = f"{info.parameters:,}".replace(",", " ")
    assert stated in info.build.__doc__ + sys.modules[info.build.__module__].__doc__


def test_info_numbers():
    found = {name: (model_info(name).parameters, model_info(name).macs) for name in list_models()}
    assert found == {"bn_lenet": (44_878, 281_640), "digits_net": (36_050, 761_344), "lenet": (61_706, 416_520),
                     "resnet18_d2l": (11_178_378, 318_657_536)}


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


@pytest.mark.parametrize("name, rate", [("lenet", 0.1), ("bn_lenet", 0.1), ("resnet18_d2l", 0.01)])
def test_the_books_recipes(name, rate):
    assert recipe(name, "fashion_mnist", "book") == {
        "optimizer": "sgd", "momentum": 0.0, "lr": rate, "batch_size": 128, "epochs": 10, "schedule": "constant",
        "model": name, "data": "fashion_mnist"}


def test_recipe_that_is_none():
    with pytest.raises(ValueError, match="model 'digits_net' has no recipe 'book': there are default"):
        recipe("digits_net", edition="book")
    with pytest.raises(ValueError, match="no model is called 'lenot'"):
        recipe("lenot")


# ---------------------------------------------------------------------------------------- registry

def test_list_models():
    assert list_models() == sorted(list_models()) == ["bn_lenet", "digits_net", "lenet", "resnet18_d2l"]
    assert list_models("*lenet") == ["bn_lenet", "lenet"]
    assert list_models("resnet*") == ["resnet18_d2l"]
    assert list_models("lenet") == ["lenet"]
    assert list_models("vgg*") == []


@pytest.mark.parametrize("wrong, hint", [
    ("lenett", "did you mean lenet or bn_lenet?"), ("resnet18", "did you mean resnet18_d2l"),
    ("LeNet", "did you mean lenet or bn_lenet?"), ("vgg", "there are bn_lenet, digits_net, lenet, resnet18_d2l")])
def test_unknown_model(wrong, hint):
    for ask in (create_model, model_info, recipe):
        with pytest.raises(ValueError) as caught:
            ask(wrong)
        assert str(caught.value).startswith(f"no model is called {wrong!r}: {hint}")


@models
def test_unknown_option(name):
    with pytest.raises(TypeError, match=f"model '{name}' has no option width, depth: it takes num_classes, in_chan"):
        create_model(name, width=2, depth=None)


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

@pytest.mark.parametrize("name", ["lenet", "bn_lenet", "resnet18_d2l"])
def test_the_books_nets_start_from_xavier(name):
    """Uniform in [-b, b], b = sqrt(6 / (fan_in + fan_out)): bounded by b and close to it."""
    for path, layer in create_model(name).named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            w = layer.weight.numpy()
            area = int(np.prod(w.shape[2:]))
            bound = np.sqrt(6 / (area * (w.shape[0] + w.shape[1])))
            assert 0.9 * bound < np.abs(w).max() <= bound * (1 + 1e-6), path
            assert np.abs(w).mean() == pytest.approx(bound / 2, rel=0.15), path
