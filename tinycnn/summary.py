"""What a model is made of, layer by layer: shapes, parameters, arithmetic, memory, receptive field.

summary() runs the model once on zeros, in evaluation mode, and watches every layer.  A layer's receptive field is how
many input pixels (along one side) one of its outputs can see: with the field r and step j of its input,

    r' = r + (K - 1) * D * j,     j' = j * S        for a kernel K, dilation D, stride S

the largest over all paths where paths join.  Only layers are seen: a convolution or pool that a model calls as a
function adds nothing to fields and counts.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .dtypes import is_floating
from . import nn
from .autograd import Tensor, enable_grad, no_grad

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.LPPool1d, nn.LPPool2d)
_NO_FIELD = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Flatten,
             nn.Linear, nn.Bilinear, *_TRANSPOSED, nn.Upsample, nn.MaxUnpool1d, nn.MaxUnpool2d, nn.PixelShuffle,
             nn.PixelUnshuffle, nn.Fold, nn.Unfold, nn.Unflatten)


class Row(NamedTuple):
    """One layer.

    path, depth      its name in the model and how deep it stands
    layer            its class
    shape            of its output; None if it was not reached
    parameters       its own, not its children's
    macs             multiply-accumulates of one forward pass (convolutions and linear layers), over all its calls
    bytes            of its outputs, over all its calls
    receptive_field  (r, j): input pixels seen by one output along the height, and the step between neighbours;
                     None behind what mixes, rearranges or enlarges whole maps: it is the image then, or no square
    """

    path: str
    depth: int
    layer: str
    shape: tuple[int, ...] | None
    parameters: int
    macs: int
    bytes: int
    receptive_field: tuple[int, int] | None


class Summary:
    """The rows of a model and their totals; str() is the table, to_dict() plain values.

    parameters, trainable  how many numbers, each shared one once
    parameter_bytes        what they take
    activation_bytes       the outputs of all layers without children, which training keeps or computes again
    """

    def __init__(self, rows: list[Row], input_shape: tuple[int, ...], parameters: list[nn.Parameter],
                 activation_bytes: int):
        self.rows, self.input_shape, self.activation_bytes = rows, input_shape, activation_bytes
        self.parameters = sum(p.numel() for p in parameters)
        self.trainable = sum(p.numel() for p in parameters if p.requires_grad)
        self.parameter_bytes = sum(p.data.nbytes for p in parameters)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass."""
        return sum(r.macs for r in self.rows)

    @property
    def flops(self) -> int:
        """Floating-point operations of the same: two per multiply-accumulate."""
        return 2 * self.macs

    def to_dict(self) -> dict[str, Any]:
        """Totals and rows, for JSON."""
        return {"input_shape": list(self.input_shape), "parameters": self.parameters, "trainable": self.trainable,
                "macs": self.macs, "flops": self.flops, "parameter_bytes": self.parameter_bytes,
                "activation_bytes": self.activation_bytes,
                "layers": [{**r._asdict(), "shape": r.shape and list(r.shape),
                            "receptive_field": r.receptive_field and list(r.receptive_field)} for r in self.rows]}

    def __str__(self) -> str:
        head = ("layer", "output", "parameters", "MACs", "memory", "field/step")
        table = [head, *(self._cells(r) for r in self.rows)]
        widths = [max(len(row[k]) for row in table) for k in range(len(head))]
        lines = ["  ".join(c.ljust(w) if k < 2 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths))).rstrip()
                 for row in table]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule,
                          f"parameters          {self.parameters:,} ({self.trainable:,} trainable, "
                          f"{_size(self.parameter_bytes)})",
                          f"multiply-adds       {self.macs:,} ({self.flops:,} FLOPs)",
                          f"activation memory   {_size(self.activation_bytes)} for input {self.input_shape}"])

    @staticmethod
    def _cells(r):
        name = "  " * r.depth + (r.path.rpartition(".")[2] + " " if r.path else "") + r.layer
        shape = "x".join(map(str, r.shape)) if r.shape is not None else "not reached"
        field = "{}/{}".format(*r.receptive_field) if r.receptive_field else ""
        return (name, shape, f"{r.parameters:,}" if r.parameters else "", f"{r.macs:,}" if r.macs else "",
                _size(r.bytes), field)


def _size(n):
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.4g} {unit}"
        n /= 1024
    return f"{n:.4g} GiB"


def summary(model: nn.Module, input_size: tuple[int, ...], dtype: Any = None, dry: bool = False) -> Summary:
    """Run `model` on zeros of `input_size` (N, C, H, W), or whatever it takes, and describe every layer.

    dtype  of the zeros; by default that of the first parameter, or else float32
    dry    run on an empty batch, which computes nothing: for models that treat each image for itself and do not need
           to be run to know their shapes (no lazy layers)

    The model's mode, gradients and running statistics are left as they were; lazy layers become ordinary ones.
    Raises ValueError for a size that is no shape.  An error of the model is raised again with the table up to the
    layer that failed in front of its message.
    """
    size = tuple(input_size)
    if not all(isinstance(n, (int, np.integer)) and n > 0 for n in size):
        raise ValueError(f"summary: input_size={input_size!r}: expected positive whole numbers, as in (1, 3, 32, 32)")
    first = next(iter(_ready(model.parameters())), None)
    zeros = np.zeros((0, *size[1:]) if dry else size, dtype or (np.float32 if first is None else first.dtype))
    x = Tensor(zeros, requires_grad=is_floating(zeros.dtype))     # layers' fields are found along the graph
    watch = _Watch(model, size[0] if dry else None)
    try:
        with _evaluating(model), enable_grad():
            x = x if first is None else x.to(device=first.device)
            watch.fields[id(x)] = (1, 1)
            model(x)
    except (ValueError, TypeError, IndexError) as error:
        error.args = (f"{watch.summary(size)}\n\nthe model does not take an input of {size}: {error}",)
        raise
    finally:
        watch.close()
    return watch.summary(size)


@contextmanager
def _evaluating(model):
    """`with` block in which the model is in evaluation mode; afterwards each layer is in its own again."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


def _ready(parameters):
    """Those that have a shape: lazy layers' do not."""
    return [p for p in parameters if not isinstance(p, nn.UninitializedParameter)]


def minimum_input(model: nn.Module, channels: int | None = None, largest: int = 1024) -> int:
    """The smallest side of a square image with which the model does not run out of pixels.

    channels  of the image; by default those of the first convolution

    A linear layer that wants a larger map does not count: it would only have to be made for the smaller one.  Raises
    ValueError if not even `largest` is enough.

    >>> minimum_input(nn.Sequential(nn.Conv2d(1, 1, 5), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3)))
    10
    """
    if channels is None:
        first = next((m for m in model.modules() if isinstance(m, _CONVOLUTIONS)), None)
        if first is None:
            raise ValueError("minimum_input: the model has no convolution: give the image's channels")
        channels = first.in_channels
    low, high = 0, largest                           # low is too small, high is hoped to be enough
    if not _enough(model, channels, high):
        raise ValueError(f"minimum_input: the model does not even take {channels}x{largest}x{largest}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _enough(model, channels, middle) else (middle, high)
    return high


def _enough(model, channels, side):
    """Whether an image of that side reaches the end, or a linear layer."""
    like = next(iter(model.parameters()))
    try:
        with _evaluating(model), no_grad():
            model(Tensor(np.zeros((0, channels, side, side), like.dtype)).to(device=like.device))
    except (ValueError, TypeError, IndexError) as error:
        return isinstance(getattr(error, "layer", None), nn.Linear)
    return True


_UNSEEN = None, 0, 0, None                           # shape, MACs, bytes, receptive field


class _Watch:
    """Hooks on every layer that note what came out."""

    def __init__(self, model, images):
        """images: how many there would be in the batch, if it is empty."""
        self.model, self.images, self.seen, self.fields, self.kept = model, images, {}, {}, []
        self.handles = [m.register_forward_hook(self._note) for m in model.modules()]

    def close(self):
        for h in self.handles:
            h.remove()

    def _note(self, module, inputs, output):
        y = output[0] if isinstance(output, (tuple, list)) else output
        if not isinstance(y, Tensor):
            return
        given = [t for v in inputs for t in (v if isinstance(v, (tuple, list)) else (v,)) if isinstance(t, Tensor)]
        x = given[0] if given else y
        self.kept += [x, y]                          # ids are only good while the tensors live
        if isinstance(module, _CONVOLUTIONS + _POOLS):
            field = _grown(module, self._field_of(x))
        else:
            field = None if isinstance(module, _NO_FIELD) else self._field_of(y)
        self.fields[id(y)] = field
        _, macs, size, _ = self.seen.get(id(module), _UNSEEN)
        before, after = (t.shape if self.images is None else (self.images, *t.shape[1:]) for t in (x, y))
        self.seen[id(module)] = (after, macs + _macs(module, prod(before), prod(after)),
                                 size + prod(after) * y.dtype.itemsize, field)

    def _field_of(self, t):
        """The receptive field of a tensor: noted, or the largest of those of the tensors it was computed from."""
        stack, best, visited = [t], None, set()
        while stack:
            t = stack.pop()
            if t is None or id(t) in visited:
                continue
            visited.add(id(t))
            if id(t) in self.fields:
                found = self.fields[id(t)]
                if found is None:
                    return None
                best = found if best is None else max(best, found)
            elif t._node is not None:
                stack += t._node.parents
        return best

    def rows(self) -> Iterator[Row]:
        """A row per layer, a shared one once."""
        for path, m in self.model.named_modules():
            own = sum(p.numel() for p in _ready(m.parameters(recurse=False)))
            depth = path.count(".") + 1 if path else 0
            shape, *costs = self.seen.get(id(m), _UNSEEN)
            yield Row(path, depth, type(m).__name__, shape, own, *costs)

    def summary(self, input_size):
        rows = list(self.rows())
        leaves = {path for path, m in self.model.named_modules() if not list(m.children())}
        return Summary(rows, input_size, _ready(self.model.parameters()),
                       sum(r.bytes for r in rows if r.path in leaves))


def _macs(module, n_in, n_out):
    """Multiply-accumulates of one call with so many input and output elements."""
    if isinstance(module, _CONVOLUTIONS):
        return n_out * prod(module.weight.shape[1:])
    if isinstance(module, _TRANSPOSED):
        return n_in * prod(module.weight.shape[1:])
    if isinstance(module, nn.Linear):
        return n_out * module.in_features
    if isinstance(module, nn.Bilinear):
        return n_out * module.in1_features * module.in2_features
    return 0


def _height(v):
    return v[0] if isinstance(v, tuple) else v


def _grown(module, field):
    """The receptive field behind a convolution or pool, for that of its input."""
    if field is None:
        return None
    K, D, S = (_height(v) for v in (module.kernel_size, getattr(module, "dilation", 1), module.stride))
    r, j = field
    return r + (K - 1) * D * j, j * S
