"""Stage "steps torch": the same steps by PyTorch, eager, in both memory layouts; small nets as a CUDA graph, too."""
from __future__ import annotations

from functools import partial
from typing import Any

from .rival import Torch, missing
from .steps import MODES, NETS, TINY, Net, described, timed
from .torch_nets import build
from .work import Work


def run(work: Work) -> None:
    """The stage."""
    if missing(work):
        return
    torch, nets = Torch(), TINY if work.settings.tiny else NETS
    seconds = work.share(2 * len(nets) * len(MODES), most=2.0)
    work.each([(f"{name} {mode}{' channels-last' * last}", partial(measure, torch, name, net, mode, last, seconds))
               for name, net in nets.items() for mode in MODES for last in (True, False)], torch.synchronize)


def measure(torch: Torch, name: str, net: Net, mode: str, last: bool, seconds: float) -> list[dict]:
    """A row, and for small nets another one for the step as a graph."""
    rows, step = [], training(torch, net, mode, last)
    for how in ("eager", "graph") if net.small else ("eager",):
        torch.empty()
        if torch.real:
            torch.torch.cuda.reset_peak_memory_stats()
        call, done = (step, how) if how == "eager" else torch.repeated(step)
        if how == "graph":
            call = partial(_replayed, call, step)
        rows.append({**timed(torch, call, seconds, net), **described(name, net, mode), "how": done, "last": last,
                     "peak_mib": torch.torch.cuda.max_memory_allocated() // 2 ** 20 if torch.real else 0})
    return rows


def _replayed(replay, step):
    """The loss of the step before: a replay returns nothing."""
    replay()
    return step.losses[-1]


class training:
    """A step as a function without arguments; it returns the loss."""

    def __init__(self, torch: Torch, net: Net, mode: str, last: bool):
        torch.torch.manual_seed(0)
        self._torch, self._mode = torch, mode
        torch.precision(mode)
        layout = torch.torch.channels_last if last else torch.torch.contiguous_format
        self._model = build(net.model, net.classes).to(torch.name).to(memory_format=layout)
        self._optimizer = torch.torch.optim.SGD(self._model.parameters(), lr=1e-3, momentum=0.9, foreach=True)
        self._x = torch.random(net.shape, last=last)
        self._labels = torch.torch.randint(0, net.classes, (net.batch,), device=torch.name)
        self.losses: list[Any] = []

    def __call__(self) -> Any:
        lib = self._torch.torch
        self._optimizer.zero_grad()
        with lib.autocast(self._torch.name, lib.bfloat16, enabled=self._mode == "bfloat16"):
            loss = lib.nn.functional.cross_entropy(self._model(self._x), self._labels)
        loss.backward()
        self._optimizer.step()
        self.losses[:] = [loss.detach()]
        return self.losses[-1]
