"""Stage "ops torch": the same ops by PyTorch and cuDNN."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .ops import described
from .ops_table import Op, table
from .rival import Torch, missing
from .work import Work

EAGER = ("batch_norm_relu_backward", "cross_entropy_backward", "sgd_update", "adam_update")     # by autograd and optim


def run(work: Work) -> None:
    """The stage."""
    if missing(work):
        return
    torch, ops = Torch(), list(table(work.settings.tiny))
    seconds = work.share(len(ops))
    work.each([(op.item, partial(measure, torch, op, seconds)) for op in ops], torch.synchronize)


def measure(torch: Torch, op: Op, seconds: float) -> dict:
    """Milliseconds of one call."""
    sets = torch.sets(op.bytes)
    loop = partial(_all, [call(torch, op) for _ in range(sets)])
    loop()
    replay, how = (loop, "eager") if op.kernel in EAGER else torch.repeated(loop)
    found = torch.time(replay, seconds, sets)
    del replay, loop
    torch.empty()
    return {**found, "how": how, **described(op)}


def _all(calls):
    return [one() for one in calls]


def call(torch: Torch, op: Op) -> Callable[[], Any]:
    """A call of PyTorch's counterpart on tensors of its own; its first result has the shape of our kernel's first."""
    make = partial(torch.random, dtype=torch.precision(op.mode), last=op.last)
    if op.kernel.startswith("conv2d"):
        return _convolution(torch, op, make)
    if op.kernel.endswith("_update"):
        return _update(torch, op, make)
    return (_on_map if len(op.shape) == 3 else _on_rows)(torch, op, make)


def _convolution(torch, op, make):
    N, C, H, O, K, S, P, G = op.shape
    OH = (H + 2 * P - K) // S + 1
    x, w, g = make((N, C, H, H)), make((O, C // G, K, K)), make((N, O, OH, OH))
    aten, functional = torch.torch.ops.aten, torch.torch.nn.functional
    if op.kernel == "conv2d":
        return partial(functional.conv2d, x, w, None, S, P, 1, G)
    wanted = [op.kernel == "conv2d_input", op.kernel == "conv2d_weight", False]

    def gradient():
        return aten.convolution_backward(g, x, w, None, [S, S], [P, P], [1, 1], False, [0, 0], G, wanted)[
            wanted.index(True)]
    return gradient


def _on_map(torch, op, make):
    F, aten = torch.torch.nn.functional, torch.torch.ops.aten
    x = make(op.shape + op.shape[-1:])                                 # (N, C, H, H)
    w, b, mean = (torch.random((op.shape[1],)) for _ in range(3))
    if op.kernel == "batch_norm_relu_backward":
        x, w, b, r, g = x.requires_grad_(), w.requires_grad_(), b.requires_grad_(), make(x.shape), make(x.shape)
        r.requires_grad_()
        y = F.relu(F.batch_norm(x, None, None, w, b, True) + r)
        return partial(torch.torch.autograd.grad, y, (x, w, b, r), g, retain_graph=True)
    if op.kernel == "max_pool2d_backward":
        y, where = F.max_pool2d(x, 3, 2, 1, return_indices=True)
        return partial(aten.max_pool2d_with_indices_backward, make(y.shape), x, [3, 3], [2, 2], [1, 1], [1, 1], False,
                       where)
    def norm_relu(residual):
        return F.relu(F.batch_norm(x, None, None, w, b, True) + residual)
    calls = {
        "batch_norm": lambda: partial(F.batch_norm, x, None, None, w, b, True),
        "batch_norm_eval": lambda: partial(F.batch_norm, x, mean, abs(w), w, b, False),
        "batch_norm_relu": lambda: partial(norm_relu, make(x.shape)),
        "relu": lambda: partial(F.relu, x),
        "relu_backward": lambda: partial(aten.threshold_backward, make(x.shape), x, 0),
        "max_pool2d": lambda: partial(F.max_pool2d, x, 3, 2, 1, return_indices=True),
        "avg_pool2d": lambda: partial(F.avg_pool2d, x, 3, 2, 1), "dropout": lambda: partial(F.dropout, x, 0.5),
        "adaptive_avg_pool2d": lambda: partial(F.adaptive_avg_pool2d, x, 1),
        "group_norm": lambda: partial(F.group_norm, x, 4, w, b),
    }
    return calls[op.kernel]()


def _on_rows(torch, op, make):
    F, (M, D) = torch.torch.nn.functional, op.shape
    x, w = make((M, D)), torch.random((D,))
    target = torch.torch.arange(M, device=torch.name) % D
    if op.kernel == "cross_entropy_backward":
        losses = F.cross_entropy(x.requires_grad_(), target, reduction="none")
        return partial(torch.torch.autograd.grad, losses, x, make((M,)), retain_graph=True)
    calls = {"layer_norm": partial(F.layer_norm, x, (D,), w, w), "softmax": partial(F.softmax, x, 1),
             "cross_entropy": partial(F.cross_entropy, x, target, reduction="none")}
    return calls[op.kernel]


def _update(torch, op, make):
    arrays, size = op.shape
    params = [make((size,)).requires_grad_() for _ in range(arrays)]
    for p in params:
        p.grad = make((size,))
    optim = torch.torch.optim
    made = (optim.SGD(params, lr=1e-9, momentum=0.9, fused=True) if op.kernel == "sgd_update" else
            optim.Adam(params, lr=1e-9, fused=True))
    return made.step
