"""A trained network from PyTorch's world: its checkpoint is read without PyTorch and classifies as PyTorch's does."""
import io

import numpy as np
import pytest

import tinycnn as tc
from tinycnn.data.datasets import Dataset
from tinycnn.io import load_weights
from tinycnn.models import create_model, recipe
from tinycnn.train.loop import evaluate

FILE = "resnet20-12fca82f.th"


@pytest.fixture
def weights(real_images):
    return real_images("checkpoints") / FILE


@pytest.fixture
def images(real_images):
    """A function: the first n test images of CIFAR-10, as the recipe of resnet20_cifar normalises them."""
    picture = pytest.importorskip("PIL.Image", reason="the images are stored as JPEG: Pillow reads them")
    with np.load(real_images("cifar10") / "test_jpeg.npz") as stored:
        jpeg, offsets, labels = stored["jpeg"].tobytes(), stored["offsets"], stored["labels"].astype(np.int64)

    def first(n):
        pixels = np.stack([np.asarray(picture.open(io.BytesIO(jpeg[offsets[i]:offsets[i + 1]]))) for i in range(n)])
        settings = recipe("resnet20_cifar")
        return Dataset("cifar10", pixels.transpose(0, 3, 1, 2), labels[:n], range(10), 255.0,
                       settings["mean"], settings["std"])
    return first


def trained(path):
    model = create_model("resnet20_cifar")
    model.load_state_dict(load_weights(path))
    return model.eval()


def test_load_reads_what_is_in_it(weights):
    found = tc.load(weights)
    assert "state_dict" in found and found["state_dict"]["module.conv1.weight"].shape == (16, 3, 3, 3)


def test_accuracy_on_some_images(weights, images):
    assert evaluate(trained(weights), images(500)).accuracy == 0.808                   # as PyTorch's


@pytest.mark.slow
def test_accuracy_on_all_images(weights, images):
    assert evaluate(trained(weights), images(10_000)).accuracy == 0.8103


def logits(model, x):
    with tc.no_grad():
        return model(tc.tensor(x)).numpy()


def test_pytorch_says_the_same_of_every_image(weights, images):
    torch = pytest.importorskip("torch", reason="what is compared with is PyTorch")
    state = {k.removeprefix("module."): v for k, v in
             torch.load(weights, map_location="cpu", weights_only=True)["state_dict"].items()}
    conv, norm = torch.nn.functional.conv2d, torch.nn.functional.batch_norm

    def normed(x, at):
        return norm(x, *(state[f"{at}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")))

    def theirs(x):
        x = normed(conv(x, state["conv1.weight"], padding=1), "bn1").relu()
        for at in (f"layer{i}.{k}" for i in (1, 2, 3) for k in range(3)):
            stride = 2 if at in ("layer2.0", "layer3.0") else 1
            y = normed(conv(x, state[f"{at}.conv1.weight"], stride=stride, padding=1), f"{at}.bn1").relu()
            y = normed(conv(y, state[f"{at}.conv2.weight"], padding=1), f"{at}.bn2")
            if stride == 2:
                x = torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, *[x.shape[1] // 2] * 2))
            x = (y + x).relu()
        return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]
    x = images(500).batch(np.arange(500), None)[0]
    ours, wanted = logits(trained(weights), x), theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-4 * abs(wanted).max())
    np.testing.assert_array_equal(ours.argmax(1), wanted.argmax(1))


def test_the_command_line_reads_it(weights, tmp_path, capsys):
    from tinycnn.cli import main
    target = tmp_path / "weights.safetensors"
    assert main(["convert", str(weights), str(target), "--model", "resnet20_cifar"]) == 0
    assert "97 arrays" in capsys.readouterr().out
    ours, theirs = load_weights(target), load_weights(weights)
    assert all(np.array_equal(ours[k], theirs[k]) for k in theirs) and list(ours) != []
    assert main(["convert", str(weights), str(target), "--model", "resnet32_cifar"]) == 2
    assert "missing keys: layer1.3" in capsys.readouterr().err
    assert main(["eval", "--weights", str(target)]) == 2
    assert "which model?" in capsys.readouterr().err
    assert main(["eval"]) == 2
