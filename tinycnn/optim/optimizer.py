"""Optimizers: they read p.grad and write p.data, in place.  Names, arguments and arithmetic: torch.optim."""
from __future__ import annotations

from typing import Any, Callable, Iterable

import numpy as np

from ..autograd import Tensor, enable_grad, no_grad
from ..backend import array_module, kernels, to_device, to_numpy

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]


class Optimizer:
    """Base class: parameter groups with their options, and a state for each parameter.  As torch.optim.Optimizer.

    params    Parameters, or dicts {"params": [...], option: value} with options of their own
    defaults  the options of groups that do not say otherwise

    Raises ValueError for no parameters, one given twice, or an option out of range; TypeError for other things.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        if isinstance(params, Tensor):
            raise TypeError(f"{type(self).__name__}: expected a list of parameters, got one tensor: write [tensor]")
        self.defaults, self.param_groups, self.state = defaults, [], {}
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: the list of parameters is empty: pass model.parameters(), once "
                             "only if it is an iterator")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own."""
        name = type(self).__name__
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: expected parameters, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(f"{name}: a tensor of shape {p.shape} is the result of an op: only leaves can be trained")
            if id(p) in known:
                raise ValueError(f"{name}: a parameter of shape {p.shape} is given twice")
            known.add(id(p))
        unknown = set(param_group) - set(self.defaults) - {"params", "initial_lr"}
        if unknown:
            raise ValueError(f"{name}: unknown options {sorted(unknown)}: it takes {', '.join(self.defaults)}")
        group = {"params": params, **self.defaults, **{k: v for k, v in param_group.items() if k != "params"}}
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group):
        """Raise ValueError for options out of range."""
        for option, value in group.items():
            if option in ("lr", "weight_decay", "eps", "momentum", "alpha") and not value >= 0:
                raise ValueError(f"{type(self).__name__}: {option} must not be negative, got {value}")
        for beta in group.get("betas", ()):
            if not 0 <= beta < 1:
                raise ValueError(f"{type(self).__name__}: betas must lie in [0, 1), got {group['betas']}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    with no_grad():
                        p.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient; `closure`, if given, computes the loss first and is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, group)
        return loss

    def _step(self, p, group):
        """Update one parameter by its kernel, on arrays in C order."""
        xp = array_module(p.data)
        if not p.data.flags.c_contiguous:
            p.data = xp.ascontiguousarray(p.data)
        state = self.state.setdefault(id(p), {})
        self._update(kernels(p.data), p.data, xp.ascontiguousarray(p.grad.data), state, group)
        p._version += 1

    def _update(self, kernel, param, grad, state, group):
        raise NotImplementedError(f"{type(self).__name__} does not define _update()")

    def _buffer(self, state, name, param):
        """The array of that name in the parameter's state; zeros at first."""
        if name not in state:
            state[name] = array_module(param).zeros_like(param)
        return state[name]

    # ------------------------------------------------------------------ state
    def state_dict(self) -> dict[str, Any]:
        """{"state": {position: {name: array or number}}, "param_groups": [...]}: no tensors, nothing but plain values."""
        position = {id(p): i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        at = 0
        groups = []
        for group in self.param_groups:
            n = len(group["params"])
            groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": list(range(at, at + n))})
            at += n
        state = {position[key]: {n: to_numpy(v).copy() if hasattr(v, "dtype") else v for n, v in s.items()}
                 for key, s in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from state_dict().  Raises ValueError, changing nothing, if groups or shapes do not fit."""
        groups, name = state_dict["param_groups"], type(self).__name__
        sizes, mine = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if sizes != mine:
            raise ValueError(f"{name}.load_state_dict: the groups hold {sizes} parameters, the optimizer has {mine}")
        params = [p for group in self.param_groups for p in group["params"]]
        state = {}
        for key, values in state_dict["state"].items():
            p = params[int(key)]
            for n, v in values.items():
                if hasattr(v, "dtype") and v.shape != p.shape:
                    raise ValueError(f"{name}.load_state_dict: {n} of parameter {key} has shape {v.shape}, expected "
                                     f"{p.shape}")
            state[id(p)] = {n: to_device(np.array(v, p.dtype), p.device) if hasattr(v, "dtype") else v
                            for n, v in values.items()}
        self.state = state
        for group, loaded in zip(self.param_groups, groups):
            group.update({k: tuple(v) if isinstance(v, list) else v for k, v in loaded.items() if k != "params"})

    def __repr__(self) -> str:
        groups = "; ".join(", ".join(f"{k}={v!r}" for k, v in g.items() if k != "params") for g in self.param_groups)
        return f"{type(self).__name__}({groups})"


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, Nesterov's if wanted.  As torch.optim.SGD.

    Sutskever et al. 2013; the velocity is v = momentum * v + g, and lr multiplies it afterwards.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False):
        super().__init__(params, dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                                      nesterov=nesterov, maximize=maximize))

    def _check(self, group):
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum and no dampening, got "
                             f"momentum={group['momentum']}, dampening={group['dampening']}")

    def _update(self, kernel, param, grad, state, group):
        first = "momentum_buffer" not in state
        buf = self._buffer(state, "momentum_buffer", param) if group["momentum"] else None
        kernel.sgd_update(param, grad, buf, group["lr"], group["momentum"], group["dampening"], group["weight_decay"],
                          group["nesterov"], group["maximize"], first)


class Adam(Optimizer):
    """Adam; AMSGrad if wanted.  As torch.optim.Adam.  Kingma & Ba 2015, algorithm 1; Reddi et al. 2018."""

    decoupled = False

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False):
        super().__init__(params, dict(lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
                                      maximize=maximize))

    def _update(self, kernel, param, grad, state, group):
        state["step"] = state.get("step", 0) + 1
        m, v = self._buffer(state, "exp_avg", param), self._buffer(state, "exp_avg_sq", param)
        vmax = self._buffer(state, "max_exp_avg_sq", param) if group["amsgrad"] else None
        kernel.adam_update(param, grad, m, v, vmax, group["lr"], *group["betas"], group["eps"], group["weight_decay"],
                           state["step"], self.decoupled, group["maximize"])


class AdamW(Adam):
    """Adam with weight decay apart from the gradient.  As torch.optim.AdamW.  Loshchilov & Hutter 2019."""

    decoupled = True

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """RMSprop; centred, with momentum, if wanted.  As torch.optim.RMSprop.  Hinton 2012, lecture 6e."""

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False, *, maximize: bool = False):
        super().__init__(params, dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
                                      centered=centered, maximize=maximize))

    def _update(self, kernel, param, grad, state, group):
        v = self._buffer(state, "square_avg", param)
        buf = self._buffer(state, "momentum_buffer", param) if group["momentum"] else None
        gavg = self._buffer(state, "grad_avg", param) if group["centered"] else None
        kernel.rmsprop_update(param, grad, v, buf, gavg, group["lr"], group["alpha"], group["eps"],
                              group["weight_decay"], group["momentum"], group["maximize"])
