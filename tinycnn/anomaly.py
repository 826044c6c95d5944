"""Anomaly mode: the first NaN or infinity of a forward or backward pass is an error that says where it arose.

                    off                            on
    op's function   as written                     its result is looked at before anybody else sees it
    Node.__init__   as written                     also keeps the line and the layers that called the op (callers.py)
    Node.gradients  as written                     every gradient it returns is looked at

Switching the mode on puts other functions into these places, switching it off puts the old ones back: while it is
off nothing is checked and nothing is asked.  The mode holds for the whole process.  What kernels use inside, such as
the -inf around a max pooling's image, is not looked at: only the results of ops are.
"""
from __future__ import annotations

import threading
from contextlib import ContextDecorator
from functools import partial, wraps
from pathlib import Path
from typing import Any, Callable
from weakref import WeakKeyDictionary

import numpy as np

from .backend import array_module
from .callers import Caller, find_caller, want
from .dtypes import is_floating
from .methods import TensorMethods
from .recording import Node

_switches: WeakKeyDictionary = WeakKeyDictionary()   # op -> its function `use(function)`, and the function as written
_plain = Node.gradients


class AnomalyError(RuntimeError):
    """Raised in anomaly mode at the first NaN or infinity.

    layer  path of the layer in the model that was called, "" outside of layers
    op     name of the op; for backward of the op whose vjp it was
    """

    def __init__(self, message: str, layer: str, op: str):
        super().__init__(message)
        self.layer, self.op = layer, op


class _State(threading.local):
    backward = False                                 # inside a vjp: its gradients are looked at, not its steps


_state = _State()
_mode: tuple[bool, bool, bool] = (False, True, False)           # (enabled, check_nan, allow_inf)


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on.  As torch.is_anomaly_enabled."""
    return _mode[0]


class set_detect_anomaly:
    """Switch anomaly mode on or off, for good or as a `with` block.  As torch.autograd.set_detect_anomaly.

    check_nan  False: only record which line and layer called each op, check nothing
    allow_inf  infinities are wanted (log(0), a mask of -inf before a softmax, losses scaled for float16): only NaN
               is an error
    """

    def __init__(self, mode: bool, check_nan: bool = True, allow_inf: bool = False):
        self._before = _mode
        _switch((bool(mode), check_nan, allow_inf))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        _switch(self._before)


class detect_anomaly(ContextDecorator):
    """`with` block or decorator in which the first NaN or infinity raises AnomalyError.  As torch's.

    The error names the layer, the op, shapes and statistics; in backward the op's vjp, the argument, and the line that
    called the op.  Options as set_detect_anomaly.  It makes everything slower: switch it on to search.

    >>> import tinycnn as tc
    >>> with tc.autograd.detect_anomaly():
    ...     try:
    ...         y = tc.log(tc.tensor([-1.0]))
    ...     except tc.autograd.AnomalyError as error:
    ...         print(error.op)
    log
    """

    def __init__(self, check_nan: bool = True, allow_inf: bool = False):
        self._wanted, self._before = (True, check_nan, allow_inf), []

    def __enter__(self) -> None:
        self._before.append(_mode)
        _switch(self._wanted)

    def __exit__(self, *exception: Any) -> None:
        _switch(self._before.pop())


def watchable(call: Callable, name: str, function: Callable, use: Callable[[Callable], None]) -> None:
    """Let anomaly mode replace the `function` inside the op `call` by means of `use`."""
    _switches[call] = name, function, use
    if _mode[0]:
        use(_watched(name, function))


def _switch(mode):
    global _mode
    want(mode[0] - _mode[0])
    _mode = mode
    for name, function, use in list(_switches.values()):
        use(_watched(name, function) if mode[0] else function)
    Node.gradients = _checked if mode[0] else _plain


# ---------------------------------------------------------------------------------------- what is put in place

def _watched(name, function):
    """An op's function that looks at its result."""
    @wraps(function)
    def watched(*args):
        data, vjps = function(*args)
        if not _state.backward and _is_bad(data):
            caller = find_caller()
            inputs = [t for a in args for t in (a if isinstance(a, (list, tuple)) else (a,))
                      if isinstance(t, TensorMethods)]
            raise AnomalyError(_message(f"forward of {name}()", caller, [
                *(f"input {i}: {statistics(t.data)}" for i, t in enumerate(inputs)),
                f"output: {statistics(data)}"]), caller.layer, name)
        return data, vjps
    return watched


def _checked(node, g, y, wanted):
    if _state.backward or node.vjps is None:         # a graph inside a vjp, or one that was freed
        return _plain(node, g, y, wanted)
    caller = getattr(node, "caller", Caller(None, 0))            # recorded before the mode was switched on: not known
    fail = partial(_fail_backward, node, g, y, caller)
    if _is_bad(g._data):
        fail(f"backward, the gradient that reaches {node.name}() (the seed's, a hook's or a sum's)", [])
    _state.backward = True
    try:
        found = _plain(node, g, y, wanted)
    finally:
        _state.backward = False
    for i, (gradient, w) in enumerate(zip(found, wanted)):
        if w and gradient is not None and _is_bad(gradient._data):
            vjp = (node.vjps if callable(node.vjps) else node.vjps[i]).__code__
            fail(f"backward of {node.name}(), the vjp for input {i} ({Path(vjp.co_filename).name}:"
                 f"{vjp.co_firstlineno})", [f"gradient of input {i}: {statistics(gradient._data)}"])
    return found


def _fail_backward(node, g, y, caller, what, rows):
    inputs = [f"input {i}: {statistics(p._data)}" for i, p in enumerate(node.parents) if p is not None]
    raise AnomalyError(_message(what, caller, [
        *inputs, f"output: {statistics(y._data)}", f"gradient of output: {statistics(g._data)}", *rows]),
        caller.layer, node.name)


def _is_bad(array):
    """Whether the mode minds a value in it."""
    _, check, allow_inf = _mode
    if not check or not is_floating(array.dtype):
        return False
    xp = array_module(array)
    return bool(xp.isnan(array).any()) if allow_inf else not bool(xp.isfinite(array).all())


# ---------------------------------------------------------------------------------------- what is told

def statistics(array: Any) -> str:
    """Shape, dtype, how many values are NaN or infinite, and the range and mean of the others, in one line."""
    told = f"shape {array.shape}, {array.dtype}"
    if not is_floating(array.dtype) or not array.size:
        return told
    xp = array_module(array)
    good = array[xp.isfinite(array)].astype(np.float64)
    told += f", {int(xp.isnan(array).sum())} nan, {int(xp.isinf(array).sum())} inf of {array.size}"
    if not good.size:
        return told + ", none finite"
    return told + f", finite: min {float(good.min()):.4g}, max {float(good.max()):.4g}, mean {float(good.mean()):.4g}"


def _message(what, caller, rows):
    where = f" in layer {caller.layer}" if caller.layer else ""
    called = str(caller) or "not known: the op ran before anomaly mode was switched on"
    return "\n  ".join([f"{what}{where} gave the first NaN or infinity", f"called from {called}", *rows,
                        "keep the inputs in the op's domain (an eps, a clamp, a smaller learning rate); where "
                        "infinities are wanted: detect_anomaly(allow_inf=True)"])
