"""Schedules along a curve: cosines, with restarts, one cycle up and down."""
from __future__ import annotations

from bisect import bisect_left
from math import cos, floor, log, pi
from typing import Any, Sequence

from .base import LRScheduler


class CosineAnnealingLR(LRScheduler):
    """Half a cosine wave from the first rate down to eta_min in T_max steps, then up again.

    Loshchilov and Hutter (2017), arXiv:1608.03983, equation 5, without restarts.
    """

    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """eta_min + (lr - eta_min) * height(step) / height(step - 1)"""
        if self.last_epoch == 0:
            return self._lrs
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:    # the wave was at its foot: start from there
            return [lr + (base - self.eta_min) * (1 - cos(pi / self.T_max)) / 2
                    for lr, base in zip(self._lrs, self.base_lrs)]
        ratio = self._height(self.last_epoch) / self._height(self.last_epoch - 1)
        return [self.eta_min + (lr - self.eta_min) * ratio for lr in self._lrs]

    def _height(self, step):
        return 1 + cos(pi * step / self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine waves from the first rate down to eta_min, in T_0 steps, then T_0*T_mult, T_0*T_mult^2, ...

    Loshchilov and Hutter (2017), arXiv:1608.03983, equation 5.
    """

    def __init__(self, optimizer: Any, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1):
        if T_0 < 1 or T_mult < 1 or T_0 != int(T_0) or T_mult != int(T_mult):
            raise ValueError(f"CosineAnnealingWarmRestarts: T_0 and T_mult must be integers of at least 1, got {T_0} "
                             f"and {T_mult}")
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The cosine of the period the step lies in"""
        since, period = self._period(self.last_epoch)
        return [self.eta_min + (base - self.eta_min) * (1 + cos(pi * since / period)) / 2 for base in self.base_lrs]

    def _period(self, step):
        """How far into its period a step is, and how long that is."""
        if self.T_mult == 1:
            return step % self.T_0, self.T_0
        n = int(log(step / self.T_0 * (self.T_mult - 1) + 1, self.T_mult) + 1e-12)     # periods that are over
        start = self.T_0 * (self.T_mult ** n - 1) / (self.T_mult - 1)
        return step - start, self.T_0 * self.T_mult ** n

    def step(self, epoch: float | None = None) -> None:
        """Go to the next step, or to the fractional one given: epoch + i/steps_per_epoch."""
        if epoch is None:
            super().step()
            return
        if epoch < 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: epoch must be at least 0, got {epoch}")
        self.last_epoch = epoch                      # get_lr wants the fraction ...
        self._apply()
        self.last_epoch = floor(epoch)               # ... and a plain step() goes on from the whole number


class OneCycleLR(LRScheduler):
    """From max_lr/div_factor up to max_lr, then down to the start divided by final_div_factor.

    total_steps       how many steps there are, or epochs * steps_per_epoch
    pct_start         the part of them that goes up
    three_phase       down to the start in as many steps as up, then to the end
    anneal_strategy   "cos" or "linear"
    cycle_momentum    momentum (or the first of betas) goes the other way, between max_momentum and base_momentum

    Raises ValueError for options that do not fit and for a step beyond the last.
    Smith and Topin (2018), arXiv:1708.07120, section 4.
    """

    def __init__(self, optimizer: Any, max_lr: float | Sequence[float], total_steps: int | None = None,
                 epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
                 anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float | Sequence = 0.85,
                 max_momentum: float | Sequence = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
                 three_phase: bool = False, last_epoch: int = -1):
        if total_steps is None:
            if not epochs or not steps_per_epoch:
                raise ValueError("OneCycleLR: how many steps there are must be given, as total_steps or as epochs and "
                                 "steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1:
            raise ValueError(f"OneCycleLR: total_steps must be at least 1, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start must lie in 0..1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        up = pct_start * total_steps - 1
        self._ends = [up, 2 * up, total_steps - 1] if three_phase else [up, total_steps - 1]
        self._three_phase, self.cycle_momentum = three_phase, cycle_momentum
        self._set_ranges(optimizer, max_lr, base_momentum, max_momentum, div_factor, final_div_factor, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _set_ranges(self, optimizer, max_lr, base_momentum, max_momentum, div_factor, final_div_factor, last_epoch):
        """Write into every group between what its rate and momentum move."""
        groups = optimizer.param_groups
        if self.cycle_momentum and not all("momentum" in g or "betas" in g for g in groups):
            raise ValueError("OneCycleLR: the optimizer has no momentum to cycle: pass cycle_momentum=False")
        if last_epoch != -1:
            return
        for group, peak, low, high in zip(groups, *(self._per_group(name, v, len(groups)) for name, v in (
                ("max_lr", max_lr), ("base_momentum", base_momentum), ("max_momentum", max_momentum)))):
            start = peak / div_factor
            group.update(initial_lr=start, max_lr=peak, min_lr=start / final_div_factor)
            if self.cycle_momentum:
                group.update(base_momentum=low, max_momentum=high)

    def _per_group(self, name, v, groups):
        values = list(v) if isinstance(v, (list, tuple)) else [v] * groups
        if len(values) != groups:
            raise ValueError(f"OneCycleLR: expected one {name} for each of the {groups} parameter groups, got "
                             f"{len(values)}")
        return values

    def get_lr(self) -> list[float]:
        """The point of the cycle; sets the momenta, too."""
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: step {self.last_epoch} of a cycle of {self.total_steps} steps: give it the "
                             "number of all optimizer steps of the training")
        groups = self.optimizer.param_groups
        if self.cycle_momentum:
            for group in groups:
                high, low = group["max_momentum"], group["base_momentum"]
                momentum = self._along([high, low, high, high] if self._three_phase else [high, low, high])
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return [self._along([g["initial_lr"], g["max_lr"], g["initial_lr"], g["min_lr"]] if self._three_phase else
                            [g["initial_lr"], g["max_lr"], g["min_lr"]]) for g in groups]

    def _along(self, points):
        """Where this step is on the path through `points`, which are reached at step 0 and at the phases' ends."""
        phase = min(bisect_left(self._ends, self.last_epoch), len(self._ends) - 1)
        start, end = [0.0, *self._ends][phase:phase + 2]
        a, b = points[phase:phase + 2]
        part = (self.last_epoch - start) / (end - start) if end != start else 1.0
        return b + (a - b) / 2 * (1 + cos(pi * part)) if self.anneal_strategy == "cos" else a + (b - a) * part
