"""Learning-rate schedules.  Names, arguments and values: torch.optim.lr_scheduler.

A schedule sets group["lr"] when it is made (step 0) and at every step().  Most are closed formulas of the step:
`factor(step)` times the group's first learning rate, which makes their state one number.
"""
from __future__ import annotations

from bisect import bisect_right
from math import cos, inf, pi
from typing import Any, Callable, Sequence

__all__ = ["ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "LRScheduler", "LambdaLR",
           "LinearLR", "MultiStepLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR", "StepLR"]


class LRScheduler:
    """Base class: subclasses define rate(step, base), the learning rate at a step.  As torch's LRScheduler."""

    def __init__(self, optimizer: Any, last_epoch: int = -1):
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.step()

    def rate(self, step: int, base: float) -> float:
        """The learning rate at `step` (0, 1, ...) for a group that began with `base`."""
        raise NotImplementedError(f"{type(self).__name__} does not define rate()")

    def step(self) -> None:
        """Go to the next step and set the learning rates."""
        self.last_epoch += 1
        for group, base in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = self.rate(self.last_epoch, base)

    def get_last_lr(self) -> list[float]:
        """The learning rates now in force, one per group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands: plain values."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs), "lrs": self.get_last_lr()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from state_dict()."""
        self.last_epoch, self.base_lrs = state_dict["last_epoch"], list(state_dict["base_lrs"])
        for group, lr in zip(self.optimizer.param_groups, state_dict["lrs"]):
            group["lr"] = lr


class LambdaLR(LRScheduler):
    """base * lr_lambda(step); one function for all groups, or one each."""

    def __init__(self, optimizer: Any, lr_lambda: Callable[[int], float] | Sequence[Callable], last_epoch: int = -1):
        n = len(optimizer.param_groups)
        self.lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * n
        if len(self.lambdas) != n:
            raise ValueError(f"LambdaLR: {len(self.lambdas)} functions for {n} groups")
        super().__init__(optimizer, last_epoch)

    def step(self) -> None:
        """Go to the next step and set the learning rates."""
        self.last_epoch += 1
        for group, base, f in zip(self.optimizer.param_groups, self.base_lrs, self.lambdas):
            group["lr"] = base * f(self.last_epoch)


class StepLR(LRScheduler):
    """Times gamma after every step_size steps."""

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, base: float) -> float:
        """base * gamma^(step // step_size)"""
        return base * self.gamma ** (step // self.step_size)


class MultiStepLR(LRScheduler):
    """Times gamma at each of the milestones."""

    def __init__(self, optimizer: Any, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, base: float) -> float:
        """base * gamma^(milestones reached)"""
        return base * self.gamma ** bisect_right(self.milestones, step)


class ExponentialLR(LRScheduler):
    """Times gamma at every step."""

    def __init__(self, optimizer: Any, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, base: float) -> float:
        """base * gamma^step"""
        return base * self.gamma ** step


class ConstantLR(LRScheduler):
    """Times factor for the first total_iters steps."""

    def __init__(self, optimizer: Any, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1):
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: factor must lie in 0..1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, base: float) -> float:
        """base * factor, then base"""
        return base * (self.factor if step < self.total_iters else 1)


class LinearLR(LRScheduler):
    """From start_factor to end_factor in total_iters steps: a linear warm-up.  Goyal et al. 2017, section 2.2."""

    def __init__(self, optimizer: Any, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5,
                 last_epoch: int = -1):
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: factors must lie in (0, 1] and [0, 1], got {start_factor} and {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, base: float) -> float:
        """base times a straight line"""
        part = min(step, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * part)


class PolynomialLR(LRScheduler):
    """(1 - step/total_iters)^power."""

    def __init__(self, optimizer: Any, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, base: float) -> float:
        """base * (1 - step/total_iters)^power, 0 afterwards"""
        return base * (1 - min(step, self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from base to eta_min in T_max steps, and back up.  Loshchilov & Hutter 2017, equation 5."""

    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, base: float) -> float:
        """eta_min + (base - eta_min) * (1 + cos(pi * step / T_max)) / 2"""
        return self.eta_min + (base - self.eta_min) * (1 + cos(pi * step / self.T_max)) / 2


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosines that start again after T_0 steps, each period T_mult times the last.  Loshchilov & Hutter 2017."""

    def __init__(self, optimizer: Any, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1):
        if T_0 < 1 or T_mult < 1:
            raise ValueError(f"CosineAnnealingWarmRestarts: T_0 and T_mult must be at least 1, got {T_0} and {T_mult}")
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, base: float) -> float:
        """The cosine of the period the step lies in"""
        period = self.T_0
        while step >= period:
            step, period = step - period, period * self.T_mult
        return self.eta_min + (base - self.eta_min) * (1 + cos(pi * step / period)) / 2


class OneCycleLR(LRScheduler):
    """Up from max_lr/div_factor to max_lr, then down to the start divided by final_div_factor.

    The optimizer's momentum (or beta1) goes the other way, between max_momentum and base_momentum, if cycle_momentum.
    Raises ValueError without total_steps or epochs and steps_per_epoch, and for a step() beyond the last.
    Smith & Topin 2018, section 4.
    """

    def __init__(self, optimizer: Any, max_lr: float | Sequence[float], total_steps: int | None = None,
                 epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
                 anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float = 0.85,
                 max_momentum: float = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
                 three_phase: bool = False, last_epoch: int = -1):
        if total_steps is None:
            if not epochs or not steps_per_epoch:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1 or not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: total_steps must be positive and pct_start in 0..1, got {total_steps} and "
                             f"{pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.total_steps, self.anneal_strategy, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        up = pct_start * total_steps - 1
        self._ends = [up, 2 * up, total_steps - 1] if three_phase else [up, total_steps - 1]
        groups = optimizer.param_groups
        peaks = list(max_lr) if isinstance(max_lr, (list, tuple)) else [max_lr] * len(groups)
        if last_epoch == -1:
            for group, peak in zip(groups, peaks):
                group["initial_lr"] = peak / div_factor
        super().__init__(optimizer, last_epoch)

    def _between(self, step, points):
        """The value at `step` on a path through `points`, reached at step 0 and at the ends of the phases."""
        start = 0.0
        for k, end in enumerate(self._ends):
            if step <= end or k == len(self._ends) - 1:
                part = (step - start) / (end - start) if end > start else 1.0
                if self.anneal_strategy == "cos":
                    return points[k + 1] + (points[k] - points[k + 1]) / 2 * (1 + cos(pi * part))
                return points[k] + (points[k + 1] - points[k]) * part
            start = end
        return points[-1]

    def rate(self, step: int, base: float) -> float:
        """Up to the peak, down (in three phases: to the start, then) to the floor"""
        peak, floor = base * self.div_factor, base / self.final_div_factor
        return self._between(step, [base, peak, base, floor] if len(self._ends) == 3 else [base, peak, floor])

    def step(self) -> None:
        """Go to the next step and set the learning rates and momenta."""
        if self.last_epoch + 1 >= self.total_steps + 1:
            raise ValueError(f"OneCycleLR: step {self.last_epoch + 2} of {self.total_steps}: the cycle is over")
        super().step()
        if not self.cycle_momentum:
            return
        high, low = self.max_momentum, self.base_momentum
        momentum = self._between(self.last_epoch, [high, low, high, high] if len(self._ends) == 3 else [high, low, high])
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = momentum


class SequentialLR:
    """Several schedules one after the other: warm-up, then decay.  As torch's SequentialLR."""

    def __init__(self, optimizer: Any, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1):
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(f"SequentialLR: {len(schedulers)} schedules need {len(schedulers) - 1} milestones, got "
                             f"{len(milestones)}")
        self.optimizer, self.schedulers, self.milestones = optimizer, list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self.schedulers:             # making them stepped them all: only the first counts
            scheduler.last_epoch -= 1
        self.schedulers[0].step()

    def step(self) -> None:
        """Go to the next step; at a milestone the next schedule begins at its own step 0."""
        self.last_epoch += 1
        current = self.schedulers[bisect_right(self.milestones, self.last_epoch)]
        if self.last_epoch in self.milestones:
            current.last_epoch = -1
        current.step()

    def get_last_lr(self) -> list[float]:
        """The learning rates now in force, one per group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedules stand: plain values."""
        return {"last_epoch": self.last_epoch, "schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from state_dict()."""
        self.last_epoch = state_dict["last_epoch"]
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"]):
            scheduler.load_state_dict(state)


class ReduceLROnPlateau:
    """Times factor when a metric has not improved for more than `patience` steps.  As torch's ReduceLROnPlateau."""

    def __init__(self, optimizer: Any, mode: str = "min", factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0, min_lr: float = 0.0,
                 eps: float = 1e-8):
        if factor >= 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: mode must be min or max, threshold_mode rel or abs, got {mode!r} and "
                             f"{threshold_mode!r}")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.min_lr, self.eps, self.last_epoch = min_lr, eps, 0
        self.best, self.num_bad_epochs, self.cooldown_counter = inf if mode == "min" else -inf, 0, 0

    def _better(self, a):
        sign = 1 if self.mode == "max" else -1
        relative = self.threshold_mode == "rel"
        reference = self.best * (1 + sign * self.threshold) if relative else self.best + sign * self.threshold
        return sign * a > sign * reference

    def step(self, metrics: float) -> None:
        """Tell the schedule the metric of another epoch."""
        current = float(metrics)
        self.last_epoch += 1
        if self._better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group in self.optimizer.param_groups:
                lr = max(group["lr"] * self.factor, self.min_lr)
                group["lr"] = lr if group["lr"] - lr > self.eps else group["lr"]
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def get_last_lr(self) -> list[float]:
        """The learning rates now in force, one per group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands: plain values."""
        return {"best": self.best, "num_bad_epochs": self.num_bad_epochs, "cooldown_counter": self.cooldown_counter,
                "last_epoch": self.last_epoch, "lrs": self.get_last_lr()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from state_dict()."""
        for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
            setattr(self, name, state_dict[name])
        for group, lr in zip(self.optimizer.param_groups, state_dict["lrs"]):
            group["lr"] = lr
