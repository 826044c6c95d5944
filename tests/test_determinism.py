"""The same bits: whatever else is in the batch, on any number of threads, and when it is run again."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernel_checks import assert_same_bits_on_any_threads

import tinycnn as tc

NETS = {   # with the slow ones at least one for each algorithm of kernels/cpu/choose.py: name -> image
    "lenet": (1, 28, 28), "digits_net": (1, 8, 8), "resnet18_d2l": (1, 48, 48),
}
SLOW = {"googlenet_d2l": (1, 48, 48), "alexnet_d2l": (1, 224, 224), "densenet_d2l": (1, 64, 64),
        "resnext50_32x4d": (3, 64, 64), "regnet_x_400mf": (3, 64, 64), "convnext_tiny": (3, 64, 64)}
each = pytest.mark.parametrize("name", [*NETS, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])


def build(name, dtype, batch):
    tc.manual_seed(0)
    model = tc.models.create_model(name, dtype=dtype)
    images = np.random.default_rng(1).standard_normal((batch, *(NETS | SLOW)[name]))
    return model, tc.Tensor(images.astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each
def test_an_images_logits_do_not_depend_on_its_batch(name, dtype):
    model, images = build(name, dtype, 8)
    model.eval()
    with tc.no_grad():
        whole = model(images).data
        for size in (1, 2, 3, 5):
            parts = [model(images[i:i + size]).data for i in range(0, 8, size)]
            np.testing.assert_array_equal(np.concatenate(parts), whole, err_msg=f"batches of {size}")


@each
def test_a_training_step_gives_the_same_bits_again_and_on_any_threads(name):
    def step():
        model, images = build(name, "float32", 4)
        loss = tc.nn.functional.cross_entropy(model(images), np.arange(4))
        loss.backward()
        return loss.data, *(p.grad.data for p in model.parameters())
    for a, b in zip(step(), step()):
        np.testing.assert_array_equal(a, b)
    assert_same_bits_on_any_threads(step)


@pytest.mark.parametrize("files, chosen", [
    ("test_determinism.py", "on_any_threads and (lenet or digits_net)"),
    pytest.param("test_determinism.py", "on_any_threads", marks=pytest.mark.slow),
    pytest.param("test_kernels_*.py", "same_bits_on_any", marks=pytest.mark.slow)])
def test_four_threads_even_where_there_are_fewer_processors(files, chosen):
    """The tests of one to two threads again, in a process of its own: Numba's threads are counted when it is loaded."""
    here = Path(__file__).parent
    chosen = f"({chosen}) and not four_threads"      # not itself again
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen,
                           *map(str, sorted(here.glob(files)))],
                          cwd=here.parent, env={**os.environ, "NUMBA_NUM_THREADS": "4"}, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout
