"""Module: a tree of parameters and buffers with a forward().  Names in state_dict are torch's.

Attributes are the tree: a Parameter, a Module or a registered buffer is found by having been assigned, in the order
of assignment.  Nothing else is to be done, and there is no super().__init__() to forget.

    Net                          named_modules()   named_parameters()
      conv  Conv2d               "conv"            "conv.weight", "conv.bias"
      norm  BatchNorm2d          "norm"            "norm.weight", "norm.bias"  + buffers "norm.running_mean", ...
"""
from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping

import numpy as np

from ..dtypes import is_floating
from ..autograd import HookHandle, Tensor, no_grad
from ..backend import module_of
from ..ops.arguments import destination
from .hooks import Handles, watch_backward
from .parameter import Parameter
from .state import LoadResult, load

_SHOWN = (ValueError, TypeError, IndexError)         # errors of a forward() that get the layer's path in front
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


class Module:
    """Base class of layers and models: define the parts in __init__ and the computation in forward().

    As torch.nn.Module.

    >>> from tinycnn import nn
    >>> class Block(nn.Module):
    ...     def __init__(self):
    ...         self.conv = nn.Conv2d(1, 4, 3, padding=1)
    ...     def forward(self, x):
    ...         return nn.functional.relu(self.conv(x))
    >>> [name for name, _ in Block().named_parameters()]
    ['conv.weight', 'conv.bias']
    """

    training = True

    def forward(self, *inputs: Any) -> Any:
        """Compute the output.  Every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        try:
            for hook in self._hooks("_forward_pre_hooks"):
                changed = hook(self, inputs)
                inputs = inputs if changed is None else changed if isinstance(changed, tuple) else (changed,)
            output = self.forward(*inputs, **options)
            for hook in self._hooks("_forward_hooks"):
                changed = hook(self, inputs, output)
                output = output if changed is None else changed
            return output
        except _SHOWN as error:
            self._locate(error)
            raise

    def _locate(self, error):
        """Put the path of the innermost layer that failed, seen from here, in front of the message."""
        if type(error) not in _SHOWN:                # subclasses may not be made of one message
            return
        if not hasattr(error, "layer"):
            error.layer, error.reason = self, str(error)
        path = next((name for name, m in self.named_modules() if m is error.layer and name), "")
        layer = f"{type(error.layer).__name__}({error.layer.extra_repr()})"
        error.args = (f"{path + ' ' if path else ''}{layer}: {error.reason}",)

    # ------------------------------------------------------------------ the tree
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (list, tuple, dict)):
            self._refuse_lost(name, value, self)
        if isinstance(vars(self).get(name), Parameter) and not isinstance(value, (Parameter, type(None))):
            raise TypeError(f"{type(self).__name__}.{name} is a Parameter and cannot become a {type(value).__name__}: "
                            f"assign nn.Parameter(...), or change its values: with no_grad(): {name}.copy_(...)")
        if name in vars(self).get("_buffer_names", {}) and value is not None and not isinstance(value, Tensor):
            value = Tensor(value)
        object.__setattr__(self, name, value)

    def _refuse_lost(self, name, value, root):
        """Raise TypeError if a plain list or dict holds parts that are nowhere else in root's tree."""
        held = list(_held(value))
        if not held:
            return
        found = {id(m) for m in root.modules()} | {id(p) for m in root.modules() for _, p in m._own(False)}
        if any(id(part) not in found for part in held):
            kind = "Parameter" if isinstance(held[0], Parameter) else "Module"
            container = f"nn.{kind}Dict({{...}})" if isinstance(value, dict) else f"nn.{kind}List([...])"
            raise TypeError(f"{type(self).__name__}.{name}: a plain {type(value).__name__} holds a "
                            f"{type(held[0]).__name__}, whose parameters would not be found, trained or saved: use "
                            f"{container}" + (" or nn.Sequential(...)" if kind == "Module" else ""))

    def _refuse_all_lost(self):
        """The same for what was put into lists after they were assigned."""
        for m in self.modules():
            for name, v in vars(m).items():
                if isinstance(v, (list, tuple, dict)) and v and name not in _HOOKS:
                    m._refuse_lost(name, v, self)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Keep a tensor that is not trained but belongs to the state (not in state_dict if not persistent)."""
        self._check_new(name)
        vars(self).setdefault("_buffer_names", {})[name] = persistent
        setattr(self, name, tensor)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Assign a Parameter, or None for one that is absent, under a name given as text."""
        self._check_new(name)
        setattr(self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """Assign a Module under a name given as text."""
        self._check_new(name)
        setattr(self, name, module)

    register_module = add_module

    def _check_new(self, name):
        if not name or "." in name:
            raise ValueError(f"{type(self).__name__}: {name!r} cannot be the name of a part: it must be a word "
                             "without dots")
        if getattr(type(self), name, None) is not None:
            raise ValueError(f"{type(self).__name__}: the name {name!r} is taken by the class")

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct parts, in the order of assignment."""
        seen = set()
        for name, v in vars(self).items():
            if isinstance(v, Module) and id(v) not in seen:
                seen.add(id(v))
                yield name, v

    def children(self) -> Iterator[Module]:
        """The direct parts."""
        return (m for _, m in self.named_children())

    def named_modules(self, memo: set | None = None, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below it, each once, depth first."""
        memo = set() if memo is None else memo
        if id(self) not in memo:
            memo.add(id(self))
            yield prefix, self
            for name, child in self.named_children():
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (m for _, m in self.named_modules())

    def _own(self, buffers):
        """(name, tensor) of this module's own parameters or buffers."""
        names = vars(self).get("_buffer_names", {})
        for name, v in vars(self).items():
            if isinstance(v, Tensor) and (name in names if buffers else isinstance(v, Parameter)):
                yield name, v

    def _named(self, buffers, prefix, recurse):
        self._refuse_all_lost()
        seen = set()
        for path, module in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
            for name, t in module._own(buffers):
                if id(t) not in seen:
                    seen.add(id(t))
                    yield f"{path}.{name}" if path else name, t

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), each once, in the order of assignment."""
        return self._named(False, prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (t for _, t in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """(path, buffer), each once."""
        return self._named(True, prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (t for _, t in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as "layer1.0.conv1".  Raises AttributeError if there is none."""
        module = self
        for name in filter(None, target.split(".")):
            module = vars(module).get(name)
            if not isinstance(module, Module):
                raise AttributeError(f"{type(self).__name__} has no submodule {target!r} (stopped at {name!r})")
        return module

    # ------------------------------------------------------------------ modes and conversions
    def train(self, mode: bool = True) -> Module:
        """Set training mode (dropout drops, batch norm uses the batch) here and below; returns the module."""
        for m in self.modules():
            m.training = bool(mode)
        return self

    def eval(self) -> Module:
        """train(False)."""
        return self.train(False)

    def fuse(self, example: Tensor | None = None) -> Module:
        """Fold batch norms into the layers before them, for inference: see nn/fuse.py."""
        from .fuse import fuse                       # late: it knows layers, which are modules
        return fuse(self, example)

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call fn with every module, children first; returns the module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Set requires_grad of every parameter; returns the module."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zeros."""
        for p in self.parameters():
            if set_to_none or p.grad is None:
                p.grad = None
            else:
                with no_grad():
                    p.grad.zero_()

    def to(self, *targets: Any, device: str | None = None, dtype: Any = None) -> Module:
        """Move parameters and buffers to a device, floating-point ones to a dtype; returns the module.

        to("cuda"), to(np.float64), to("cpu", np.float32), to(tensor).  Raises ValueError for an unknown device,
        TypeError for a dtype that is not floating point; nothing is changed then.
        """
        device, dtype = destination(targets, device, dtype)
        if dtype is not None and not is_floating(np.dtype(dtype)):
            raise TypeError(f"{type(self).__name__}.to: parameters are floating-point numbers, they cannot become "
                            f"{np.dtype(dtype)}: use float32 or float64")
        module_of(device)
        for module in self.modules():
            module._convert(device, dtype)
        return self

    def _convert(self, device, dtype):
        """Move the module's own tensors and their gradients."""
        for t in [*(t for _, t in self._own(False)), *(t for _, t in self._own(True))]:
            for part in (t, t.grad):
                if part is not None:
                    moved = part.detach().to(device=device, dtype=dtype if is_floating(part.dtype) else None).data
                    if moved is not part.data:
                        part.data = moved

    def float(self) -> Module:
        """Parameters and buffers in float32; returns the module."""
        return self.to(dtype=np.float32)

    def double(self) -> Module:
        """Parameters and buffers in float64; returns the module."""
        return self.to(dtype=np.float64)

    def cpu(self) -> Module:
        """Parameters and buffers on the CPU; returns the module."""
        return self.to(device="cpu")

    def cuda(self) -> Module:
        """Parameters and buffers on the GPU; returns the module."""
        return self.to(device="cuda")

    # ------------------------------------------------------------------ state
    def _state(self):
        """(path, tensor) of everything in state_dict: parameters, then persistent buffers, module by module."""
        self._refuse_all_lost()
        for path, module in self._all_modules():
            names = vars(module).get("_buffer_names", {})
            for name, t in [*module._own(False), *module._own(True)]:
                if names.get(name, True):
                    yield f"{path}.{name}" if path else name, t

    def _all_modules(self, prefix=""):
        """Like named_modules, but a shared module is listed at each of its places, as in torch's state_dict."""
        yield prefix, self
        for name, v in vars(self).items():
            if isinstance(v, Module):
                yield from v._all_modules(f"{prefix}.{name}" if prefix else name)

    def state_dict(self) -> dict[str, Any]:
        """path -> array of every parameter and persistent buffer; the arrays are the module's own, not copies."""
        return {name: t.data for name, t in self._state()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy the arrays (or tensors) of a mapping into parameters and buffers, in their dtype and on their device.

        Returns (missing_keys, unexpected_keys).  Raises ValueError that names every missing and unexpected key (if
        strict) and every wrong shape at once; nothing is changed then.
        """
        return load(type(self).__name__, dict(self._state()), state_dict, strict)

    # ------------------------------------------------------------------ hooks
    def _hooks(self, kind):
        return list(vars(self)[kind].values()) if kind in vars(self) else ()

    def register_forward_hook(self, hook: Callable) -> HookHandle:
        """Call hook(module, inputs, output) after forward; what it returns, if anything, becomes the output."""
        return HookHandle(vars(self).setdefault("_forward_hooks", {}), hook)

    def register_forward_pre_hook(self, hook: Callable) -> HookHandle:
        """Call hook(module, inputs) before forward; what it returns, if anything, becomes the inputs."""
        return HookHandle(vars(self).setdefault("_forward_pre_hooks", {}), hook)

    def register_full_backward_hook(self, hook: Callable) -> Handles:
        """Call hook(module, grad_inputs, grad_outputs) in backward, with tuples of one: first input, output.

        What it returns, if anything, replaces the gradient of the input.  For modules that return one tensor.
        """
        return watch_backward(self, hook)

    # ------------------------------------------------------------------ showing and copying
    def extra_repr(self) -> str:
        """What repr() shows in the brackets of a layer."""
        return ""

    def __repr__(self) -> str:
        lines = self._repr_lines()
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}(\n  " + "\n  ".join([*filter(None, [extra]), *lines]) + "\n)"

    def _repr_lines(self):
        """A line, or several, for each part."""
        return [f"({name}): " + repr(v).replace("\n", "\n  ") for name, v in vars(self).items()
                if isinstance(v, Module)]


def _held(value):
    """The modules and parameters in plain lists, tuples and dicts, nested ones, too."""
    for v in value.values() if isinstance(value, dict) else value:
        if isinstance(v, (Module, Parameter)):
            yield v
        elif isinstance(v, (list, tuple, dict)):
            yield from _held(v)
