"""Mixed precision as torch.amp has it: `autocast` (see autocast.py), and the scaling that float16 gradients need.

float16 has nothing between 0 and 6e-8, where many gradients lie.  So the loss is multiplied by a large number before
backward, and the gradients divided by it before the step; when one overflows, the step is left out and the number
halved.  Micikevicius et al. (2018), section 3.2.

    scaler = tc.amp.GradScaler()
    with tc.autocast("cuda"):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()
    scaler.step(optimizer)                           # unscales first, skips the step if a gradient is inf or nan
    scaler.update()
"""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from .autocast import autocast, is_autocast_enabled
from .autograd import Tensor
from .backend import array_module, known

__all__ = ["GradScaler", "autocast", "is_autocast_enabled"]


class GradScaler:
    """Scales the loss so that float16 gradients neither vanish nor overflow.  As torch.amp.GradScaler.

    device           where the gradients are expected; they are scaled wherever they are
    init_scale       the first factor
    growth_factor    by which it grows after growth_interval steps without overflow
    backoff_factor   by which it shrinks after one with
    enabled          False: every method passes its argument through

    step() reads one number from the device, whether the gradients are finite, so it cannot be part of a captured
    graph; bfloat16 needs no scaler.  Raises ValueError for factors on the wrong side of 1.
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0 ** 16, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True):
        if not growth_factor > 1 or not 0 < backoff_factor < 1 or not init_scale > 0 or growth_interval < 1:
            raise ValueError("GradScaler: needs init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1 and "
                             f"growth_interval >= 1, got {init_scale}, {growth_factor}, {backoff_factor}, "
                             f"{growth_interval}")
        self.device = known(device)
        self._scale, self._good_steps = float(init_scale), 0
        self._growth, self._backoff, self._interval = growth_factor, backoff_factor, growth_interval
        self._enabled = enabled
        self._found: dict[int, bool] = {}            # id(optimizer) -> was a gradient not finite?

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The factor now; 1 if not enabled."""
        return self._scale if self._enabled else 1.0

    def scale(self, outputs: Any) -> Any:
        """A loss, or a list or tuple of losses, times the factor."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(y) for y in outputs])
        return outputs * self._scale

    def unscale_(self, optimizer: Any) -> None:
        """Divide the optimizer's gradients by the factor, in place: before clipping them, say.

        Raises RuntimeError if they were divided since the last update().
        """
        if not self._enabled:
            return
        if id(optimizer) in self._found:
            raise RuntimeError("GradScaler.unscale_: this optimizer's gradients are unscaled already: call update() "
                               "after step(), before the next backward()")
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self._found[id(optimizer)] = not _all_finite(grads)
        with np.errstate(all="ignore"):              # inf and nan are what it looks for
            for g in grads:
                g.data *= g.dtype.type(1 / self._scale)

    def step(self, optimizer: Any, closure: None = None) -> Any:
        """optimizer.step() unless a gradient is infinite or nan; unscales first if unscale_() has not.

        Raises RuntimeError for a closure: it would compute gradients that nobody scales.
        """
        if closure is not None:
            raise RuntimeError("GradScaler.step: closures are not supported: compute loss and gradients before it")
        if not self._enabled:
            return optimizer.step()
        if id(optimizer) not in self._found:
            self.unscale_(optimizer)
        return None if self._found[id(optimizer)] else optimizer.step()

    def update(self, new_scale: float | None = None) -> None:
        """Shrink the factor if a step was left out since the last call, let it grow after enough that were not.

        Raises RuntimeError if no step was tried.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._found:
            raise RuntimeError("GradScaler.update: no gradients were unscaled since the last update(): call "
                               "step(optimizer) first")
        elif any(self._found.values()):
            self._scale, self._good_steps = self._scale * self._backoff, 0
        else:
            self._good_steps += 1
            if self._good_steps == self._interval:
                self._scale, self._good_steps = self._scale * self._growth, 0
        self._found = {}

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers under torch's names."""
        return {"scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff,
                "growth_interval": self._interval, "_growth_tracker": self._good_steps} if self._enabled else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state.  Raises ValueError for one that lacks a number."""
        if not self._enabled:
            return
        missing = set(self.state_dict()) - set(state_dict)
        if missing:
            raise ValueError(f"GradScaler.load_state_dict: the state has no {', '.join(sorted(missing))}: was the "
                             "scaler that made it enabled?")
        self._scale, self._good_steps = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth, self._backoff = float(state_dict["growth_factor"]), float(state_dict["backoff_factor"])
        self._interval = int(state_dict["growth_interval"])


def _all_finite(grads: list[Tensor]) -> bool:
    """Whether all elements are finite: one number is read from the device."""
    if not grads:
        return True
    xp = array_module(grads[0].data)
    return bool(xp.stack([xp.isfinite(g.data).all() for g in grads]).all())
