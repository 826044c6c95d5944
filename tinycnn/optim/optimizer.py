"""What all optimizers share: groups of parameters with their options, a state for each parameter, saving and loading.

    optimizer.param_groups    [{"params": [Tensor, ...], "lr": 0.1, ...}, ...]
    optimizer.state           parameter -> {"momentum_buffer": array, ...}: arrays and plain numbers

A subclass says in `_update` what one step does to several parameters; the arithmetic is a kernel's, which gets all of
a group's at once.  What changes from step to step reaches it as Varying numbers (kernels/capture.py), so that a step
that was captured as a graph (tinycnn/cuda.py) goes on counting and follows a schedule.
"""
from __future__ import annotations

from collections import defaultdict
from typing import Any, Callable, Iterable, Iterator, Mapping

from ..autograd import Tensor, as_array, enable_grad
from ..backend import array_module, each_run, is_capturing, is_writeable, to_device


class Optimizer:
    """Base class of optimizers.  As torch.optim.Optimizer.

    params     tensors, or dicts {"params": tensors, option: value, ...}, one per group
    defaults   the options of groups that do not give them

    Raises ValueError for no parameters, one given twice or a tensor that is no leaf, TypeError for other things.
    """

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]):
        self.defaults = dict(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._steps = 0                              # for the schedules: were there any?
        if isinstance(params, (Tensor, Mapping)) or not isinstance(params, Iterable):
            raise TypeError(f"{self._name}: params must be a list of tensors or of dicts, got a "
                            f"{type(params).__name__}: pass model.parameters() or [tensor]")
        groups = list(params)
        if not groups:
            raise ValueError(f"{self._name}: got no parameters: the model has none, or its parameters() were used up "
                             "by an earlier loop; pass model.parameters() itself")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own: {"params": tensors, "lr": 0.01}.

        Raises as the constructor does; options it refuses are refused here, too.
        """
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(f"{self._name}: a parameter group must be a dict with 'params', got {param_group!r:.80}")
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        unknown = [name for name in param_group if name not in (*self.defaults, "params", "initial_lr")]
        if unknown:
            raise ValueError(f"{self._name}: a group has the unknown options {', '.join(unknown)}: it takes "
                             f"{', '.join(self.defaults)}")
        group = {**self.defaults, **param_group, "params": params}
        self._check_options(group)
        self._check_params(params)
        self.param_groups.append(group)

    def _check_params(self, params):
        known = {id(p) for p in self._params()}
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(f"{self._name}: parameter {i} is a {type(p).__name__}, not a Tensor: pass "
                                "model.parameters()")
            if not p.is_leaf:
                raise ValueError(f"{self._name}: parameter {i} (shape {p.shape}) is the result of an op and cannot be "
                                 "optimized: pass the tensor it was made from, or x.detach().requires_grad_()")
            if id(p) in known:
                raise ValueError(f"{self._name}: parameter {i} (shape {p.shape}) is given twice; each belongs to one "
                                 "group only")
            known.add(id(p))

    def _check_options(self, group: dict[str, Any]) -> None:
        """Raise ValueError for options out of range; subclasses add theirs."""
        self._check(group, "lr", "weight_decay")

    def _check(self, group, *names):
        for name in names:
            if not group[name] >= 0:
                raise ValueError(f"{self._name}: {name} must be at least 0, got {group[name]!r}")

    def _params(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    # ------------------------------------------------------------------------------------ stepping

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zeros."""
        for p in self._params():
            if set_to_none or p.grad is None:
                p.grad = None
            else:
                p.grad.data[...] = 0
                p.grad._version += 1

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient, in place.

        closure   computes the loss and its gradients anew; it is called first and its result returned
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for params in self._alike(group):
                self._step(params, group)
        each_run(self._count)
        return loss

    def _count(self):
        self._steps += 1

    def _alike(self, group):
        """The parameters that have a gradient, in lists of those that one call of a kernel can update."""
        alike = defaultdict(list)
        for p in group["params"]:
            if p.grad is not None:
                alike[p.device, p.dtype, self._phase(self._following(p))].append(p)
        return alike.values()

    def _following(self, p):
        """The state of p, brought along if p has been moved to another device or dtype since."""
        state = self.state[p]
        if any(hasattr(v, "shape") and (type(v) is not type(p.data) or v.dtype != p.dtype) for v in state.values()):
            state.update({name: self._like(p, name, v) for name, v in state.items()})
        return state

    def _phase(self, state: dict[str, Any]) -> Any:
        """What parameters must have in common, beside device and dtype, to be updated by one call."""
        return None

    def _step(self, params, group):
        """Kernels want C-contiguous arrays of one dtype."""
        arrays = [p.data for p in params]
        for array in arrays:
            if not is_writeable(array):
                raise ValueError(f"{self._name}: a parameter of shape {array.shape} is a read-only array: use clone() "
                                 "first")
        plain = [_plain(a, a.dtype) for a in arrays]
        grads = [_plain(p.grad.data, p.dtype) for p in params]
        self._update(plain, grads, [self.state[p] for p in params], group)
        for array, own in zip(arrays, plain):
            if own is not array:
                array[...] = own
        each_run(lambda: _changed(params))

    def _update(self, params: list[Any], grads: list[Any], states: list[dict], group: dict[str, Any]) -> None:
        raise NotImplementedError(f"{self._name} does not define _update(params, grads, states, group)")

    # ------------------------------------------------------------------------------------ saving and loading

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number of the parameter: {name: array or number}}, "param_groups": [options, numbers]}.

        Arrays, numbers, strings, lists and dicts only; the arrays are the optimizer's own, not copies.
        """
        number = {id(p): i for i, p in enumerate(self._params())}
        groups = [{**group, "params": [number[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": {number[id(p)]: dict(s) for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and state, arrays copied in the dtype and on the device of their parameters.

        Raises ValueError, and changes nothing, if the groups differ in number or size or an array has the wrong shape.
        """
        mine = [len(g["params"]) for g in self.param_groups]
        given = [len(g["params"]) for g in state_dict["param_groups"]]
        if mine != given:
            raise ValueError(f"{self._name}.load_state_dict: the state has groups of {given} parameters, this "
                             f"optimizer of {mine}: make it for the same model, with the same groups")
        numbers = [int(n) for g in state_dict["param_groups"] for n in g["params"]]
        params, loaded = dict(zip(numbers, self._params())), defaultdict(dict)
        for n, values in state_dict["state"].items():
            p = params[int(n)]                       # a file may have made text of the number
            loaded[p] = {name: self._like(p, name, v) for name, v in values.items()}
        self.state = loaded
        for group, new in zip(self.param_groups, state_dict["param_groups"]):
            group.update({name: tuple(v) if isinstance(v, list) else v for name, v in new.items() if name != "params"})

    def _like(self, p, name, value):
        """A state's value for parameter p: numbers as they are, arrays copied."""
        if not hasattr(value, "shape"):
            return value
        array = as_array(value)
        if array.ndim == 0 and p.ndim > 0:           # a step count that torch keeps in a tensor
            return array.item()
        if array.shape != p.shape:
            raise ValueError(f"{self._name}.load_state_dict: {name} has shape {array.shape}, its parameter {p.shape}")
        return to_device(array, p.device).astype(p.dtype, order="C", copy=True)

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _plain(array, dtype):
    """The array in C order and that dtype: itself, if it is so."""
    if array.flags.c_contiguous and array.dtype == dtype:
        return array
    return array_module(array).ascontiguousarray(array, dtype).reshape(array.shape)       # NumPy makes (1,) of ()


def _changed(params):
    """Graphs that saved one of these will notice."""
    for p in params:
        p._version += 1


def zeros_like(param: Any) -> Any:
    """A C-contiguous array of zeros to keep in a state.

    Raises RuntimeError in a capture, for every replay would zero it again.
    """
    if is_capturing():
        raise RuntimeError("an optimizer's state is made by its first step, which cannot be captured: take one before")
    return array_module(param).zeros(param.shape, param.dtype)
