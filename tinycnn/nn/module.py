"""Module: a tree of parameters and buffers with a forward().  Names in state_dict are torch's.

Attributes are the tree: a Parameter, a Module or a registered buffer is found by having been assigned, in the order
of assignment.  Nothing else is to be done, and there is no super().__init__() to forget.
"""
from __future__ import annotations

from copy import deepcopy
from typing import Any, Callable, Iterator

import numpy as np

from ..autograd import HookHandle, Tensor, alias, no_grad

_SHOWN = (ValueError, TypeError, IndexError)         # errors of a forward() that get the layer's path in front


class Parameter(Tensor):
    """A Tensor that a Module owns and an optimizer changes.  As torch.nn.Parameter."""

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data, requires_grad)

    def __deepcopy__(self, memo):
        out = type(self)(self._data.copy(), self.requires_grad)
        memo[id(self)] = out
        return out


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
        if not hasattr(error, "layer"):
            error.layer, error.reason = self, str(error)
        path = next((name for name, m in self.named_modules() if m is error.layer and name), "")
        layer = f"{type(error.layer).__name__}({error.layer.extra_repr()})"
        error.args = (f"{path + ' ' if path else ''}{layer}: {error.reason}",)

    # ------------------------------------------------------------------ the tree
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (list, tuple)) and any(isinstance(v, (Module, Parameter)) for v in value):
            kind = "ModuleList" if any(isinstance(v, Module) for v in value) else "ParameterList"
            raise TypeError(f"{type(self).__name__}.{name}: layers in a plain {type(value).__name__} would lose their "
                            f"parameters: use nn.{kind}([...]) or nn.Sequential(...)")
        buffers = vars(self).get("_buffer_names", {})
        if name in buffers and value is not None and not isinstance(value, Tensor):
            value = Tensor(value)
        object.__setattr__(self, name, value)

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
        if hasattr(type(self), name):
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
        """Move parameters and buffers to a device, floating-point ones to a dtype; returns the module."""
        for t in [*self.parameters(), *self.buffers()]:
            floating = t.dtype.kind == "f"
            places = [v for v in targets if floating or isinstance(v, str)]
            with no_grad():
                t.data = t.to(*places, device=device, dtype=dtype if floating else None).data
                if t.grad is not None:
                    t.grad.data = t.grad.to(*places, device=device, dtype=dtype).data
        return self

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

    def load_state_dict(self, state_dict: Any, strict: bool = True) -> LoadResult:
        """Copy the arrays (or tensors) of a mapping into parameters and buffers.

        Raises KeyError naming every missing and unexpected key (only if strict) and ValueError for wrong shapes, all
        at once; nothing is changed then.  Returns (missing_keys, unexpected_keys).
        """
        mine = dict(self._state())
        given = {name: v.data if isinstance(v, Tensor) else np.asarray(v) for name, v in state_dict.items()}
        missing, unexpected = [n for n in mine if n not in given], [n for n in given if n not in mine]
        shapes = [f"{n}: expected {mine[n].shape}, got {given[n].shape}" for n in mine
                  if n in given and mine[n].shape != given[n].shape]
        complaints = [f"missing keys: {', '.join(missing)}"] if missing and strict else []
        complaints += [f"unexpected keys: {', '.join(unexpected)}"] if unexpected and strict else []
        complaints += [f"wrong shapes: {'; '.join(shapes)}"] if shapes else []
        if complaints:
            cure = " (strict=False loads what fits by name)" if strict and (missing or unexpected) else ""
            kind = ValueError if shapes else StateKeyError
            raise kind(f"load_state_dict into {type(self).__name__}: {'. '.join(complaints)}{cure}")
        with no_grad():
            for name in mine.keys() & given.keys():
                mine[name].copy_(Tensor(given[name]))
        return LoadResult(missing, unexpected)

    # ------------------------------------------------------------------ hooks
    def _hooks(self, kind):
        return list(vars(self)[kind].values()) if kind in vars(self) else ()

    def register_forward_hook(self, hook: Callable) -> HookHandle:
        """Call hook(module, inputs, output) after forward; what it returns, if anything, becomes the output."""
        return HookHandle(vars(self).setdefault("_forward_hooks", {}), hook)

    def register_forward_pre_hook(self, hook: Callable) -> HookHandle:
        """Call hook(module, inputs) before forward; what it returns, if anything, becomes the inputs."""
        return HookHandle(vars(self).setdefault("_forward_pre_hooks", {}), hook)

    def register_full_backward_hook(self, hook: Callable) -> HookHandle:
        """Call hook(module, grad_inputs, grad_outputs) in backward; one tensor in, one tensor out.

        What it returns, if anything, replaces the gradient of the input.
        """
        entered = []

        def before(module, inputs):
            x = inputs[0]
            x = alias(x) if isinstance(x, Tensor) and x.requires_grad else x
            entered.append(x)                        # this module's own view of its input: others' gradients stay out
            return (x, *inputs[1:])

        def after(module, inputs, output):
            x, y, arrived = entered.pop(), alias(output), []
            if not y.requires_grad:
                return None
            y.register_hook(arrived.append)
            if isinstance(x, Tensor) and x.requires_grad:
                x.register_hook(lambda g: _first(hook(module, (g,), (arrived.pop(),))))
            else:
                y.register_hook(lambda g: hook(module, (None,), (g,)) and None)
            return y
        return _Handles(self.register_forward_pre_hook(before), self.register_forward_hook(after))

    # ------------------------------------------------------------------ showing and copying
    def extra_repr(self) -> str:
        """What repr() shows in the brackets of a layer."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in vars(self).items()
                 if isinstance(child, Module)]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}({self.extra_repr()}\n  " + "\n  ".join(lines) + "\n)"

    def __deepcopy__(self, memo):
        out = type(self).__new__(type(self))
        memo[id(self)] = out
        for name, v in vars(self).items():
            copied = Tensor(v.data.copy()) if type(v) is Tensor else deepcopy(v, memo)
            object.__setattr__(out, name, copied)
        return out


class _Handles:
    """Several hooks taken off as one."""

    def __init__(self, *handles):
        self._handles = handles

    def remove(self):
        for h in self._handles:
            h.remove()


def _first(returned):
    return returned[0] if isinstance(returned, tuple) else returned


class StateKeyError(KeyError):
    """Keys of a state_dict are missing or unexpected; a KeyError whose message is shown as it is."""

    def __str__(self) -> str:
        return str(self.args[0])


class LoadResult(tuple):
    """(missing_keys, unexpected_keys), as torch returns them."""

    def __new__(cls, missing_keys, unexpected_keys):
        return super().__new__(cls, (missing_keys, unexpected_keys))

    missing_keys = property(lambda self: self[0])
    unexpected_keys = property(lambda self: self[1])
