"""Stage "steps": training steps, launch by launch and as one captured graph.

One step = forward, cross-entropy, backward, SGD with momentum, on a batch that is on the device already.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

import tinycnn as tc

from .ceilings import precision
from .device import Device
from .work import Work

MODES = ("high", "bfloat16", "highest")


class Net(NamedTuple):
    """A model, and the batch it is trained on; small: its steps are shorter than what launching them takes."""

    model: str
    batch: int
    image: tuple[int, int, int]
    classes: int
    small: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)"""
        return self.batch, *self.image


NETS = {
    "lenet": Net("lenet", 256, (1, 28, 28), 10, True),
    "resnet18 32x32": Net("resnet18", 128, (3, 32, 32), 10, True),
    "resnet50": Net("resnet50", 256, (3, 224, 224), 1000),
    "resnext50": Net("resnext50_32x4d", 128, (3, 224, 224), 1000),
    "vgg11": Net("vgg11", 128, (3, 224, 224), 1000),
    "densenet121": Net("densenet121", 128, (3, 224, 224), 1000),
}
TINY = {"digits_net": Net("digits_net", 2, (1, 8, 8), 10, True)}


def run(work: Work) -> None:
    """The stage."""
    device, nets = Device(work.settings.device, work.settings.tiny), TINY if work.settings.tiny else NETS
    seconds = work.share(2 * len(nets) * len(MODES), most=2.0)
    work.each([(f"{name} {mode}", partial(measure, device, name, net, mode, seconds))
               for name, net in nets.items() for mode in MODES], device.runtime.synchronize)


def measure(device: Device, name: str, net: Net, mode: str, seconds: float) -> list[dict]:
    """Two rows: eager, and as a graph."""
    x, labels = batch(device, net)
    step, rows = training(device, net, mode), []
    with precision("highest" if mode == "bfloat16" else mode):
        for how in ("eager", "graph"):
            device.empty()
            tc.cuda.reset_peak_memory_stats(device.name)
            call = partial(step if how == "eager" else tc.cuda.capture(step, x, labels, warmup=1), x, labels)
            rows.append({**timed(device, call, seconds, net), **described(name, net, mode), "how": how,
                         "peak_mib": round(tc.cuda.max_memory_allocated(device.name) / 2 ** 20)})
    return rows


def described(name: str, net: Net, mode: str) -> dict:
    """What a row says of a step."""
    return {"net": name, "mode": mode, "batch": net.batch}


def timed(device: Any, call: Callable[[], Any], seconds: float, net: Net) -> dict:
    """Milliseconds and images per second of a step, and its loss.  Raises ValueError if that is not a number."""
    in_a_row, last = 1 if not device.real else 20 if net.small else 2, [None]     # the host may run ahead, as ever

    def some():
        for _ in range(in_a_row):
            last[0] = call()
    found = device.time(some, seconds, in_a_row)
    loss = float(last[0].item())
    if not isfinite(loss):
        raise ValueError(f"the loss is {loss}")
    return {**found, "img_s": round(1e3 * net.batch / found["ms"], 1), "loss": round(loss, 4)}


def batch(device: Device, net: Net) -> tuple[Any, Any]:
    """Images in channels-last memory, and labels, on the device."""
    labels = np.random.default_rng(0).integers(0, net.classes, net.batch)
    return tc.Tensor(device.random(net.shape, last=True)), device.put(labels)


@lru_cache(maxsize=1)
def _model(device, net):
    tc.manual_seed(0)
    model = tc.models.create_model(net.model, num_classes=net.classes).to(device)
    return model, tc.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)


def training(device: Device, net: Net, mode: str) -> Callable[[Any, Any], Any]:
    """step(images, labels) -> loss, of a new model or of the one before, if it was the same net."""
    model, optimizer = _model(device.name, net)

    def step(x, labels):
        optimizer.zero_grad()
        with tc.autocast(device.name, "bfloat16", enabled=mode == "bfloat16"):
            loss = tc.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss
    return step
