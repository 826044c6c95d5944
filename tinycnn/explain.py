"""Where a tensor came from: `t.explain()`.

    >>> import tinycnn as tc
    >>> x, w = tc.ones((2, 3), requires_grad=True), tc.ones(3, requires_grad=True)
    >>> print((x * w).explain())                    # doctest: +ELLIPSIS
    mul -> (2, 3) float32
      formula      input * other, elementwise with broadcasting. As torch.mul.
      op           tinycnn/ops/basic.py:...
      inputs       input (2, 3) float32, a leaf
                   other (3,) float32, a leaf
      gradients    input: sum_to(g * other, a)
                   other: sum_to(g * input, b)
      where        a = (2, 3)
                   b = (3,)
      saved        other (3,) float32
                   input (2, 3) float32
      memory       saved 36 B, kept alive 36 B
      state        on cpu, version 0

Nothing is kept for it while ops run: the formula is the op's docstring, those of the gradients are the vjps' own
source (formulas.py), and what is saved is what the vjps mention.  The caller is known of ops that ran inside
`record_lines()` or anomaly mode.
"""
from __future__ import annotations

import sys
from functools import partial
from inspect import signature, unwrap
from textwrap import indent
from types import FunctionType
from typing import Any, Iterator, NamedTuple

from .autograd import OPS, Tensor
from .backend import fingerprint
from .callers import Caller, short_path
from .formulas import definitions, formula, mentioned
from .methods import function

_JOINT = "all"                                       # whose gradient it is, if one vjp gives those of all inputs


class Input(NamedTuple):
    """An input of an op: the op's name for it, and what it was given.  leaf: made by the user."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    leaf: bool
    requires_grad: bool


class Saved(NamedTuple):
    """What the vjps keep: a name in the op's source, and whether it was changed in place since it was saved."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    changed: bool


class Explanation(NamedTuple):
    """How a tensor came to be.  str() is for people; all is empty or 0 of a leaf.

    op            name of the op that made it; None: a leaf
    formula       what the op computes: the first paragraph of its docstring
    source        file:line of the op
    caller        the user's line and the layers (see callers.Caller); None if it was not recorded
    inputs        see Input; options that are no tensors are left out
    gradients     (name of the input, formula) for each vjp; "all" for one that gives all gradients
    definitions   what the names in these formulas stand for
    saved         see Saved
    saved_bytes   of the arrays that the vjps keep, each once, whole where only a part is seen
    kept_bytes    of these and of the inputs' arrays: all that the op's record in the graph keeps alive
    needs_output  a vjp takes the tensor's own values
    version       how often the tensor was changed in place
    changed       whether that was after they were saved, for vjps that need them
    freed         an earlier backward() has freed the graph here
    """

    op: str | None
    shape: tuple[int, ...]
    dtype: Any
    device: str
    requires_grad: bool
    formula: str = ""
    source: str = ""
    caller: Caller | None = None
    inputs: tuple[Input, ...] = ()
    gradients: tuple[tuple[str, str], ...] = ()
    definitions: dict[str, str] = {}
    saved: tuple[Saved, ...] = ()
    saved_bytes: int = 0
    kept_bytes: int = 0
    needs_output: bool = False
    version: int = 0
    changed: bool = False
    freed: bool = False

    def __str__(self) -> str:
        what = f"{self.shape} {self.dtype}"
        head = f"{self.op} -> {what}" if self.op else f"a leaf: {what}"
        rows = [("formula", [self.formula]), ("op", [self.source]), ("called from", [str(self.caller or "")]),
                ("in layer", [_layers(self.caller)]), ("inputs", [_given(i) for i in self.inputs]),
                ("gradients", [_defined(name, ": ", text) for name, text in self.gradients]),
                ("where", [_defined(name, " = ", text) for name, text in self.definitions.items()]),
                ("saved", self._savings()), ("memory", [self._memory()]), ("state", [self._state()])]
        return "\n".join([head, *(line for name, texts in rows for line in _paragraph(name, texts))])

    __repr__ = __str__

    def _savings(self):
        rows = [f"{s.name} {s.shape} {s.dtype}{', changed in place since: backward() will refuse' * s.changed}"
                for s in self.saved]
        return rows + ["the output" + ", changed in place since: backward() will refuse" * self.changed
                       ] * self.needs_output

    def _memory(self):
        return f"saved {self.saved_bytes:,} B, kept alive {self.kept_bytes:,} B" if self.op and not self.freed else ""

    def _state(self):
        if self.op is None:
            grad = "requires grad" if self.requires_grad else "requires no grad"
            return f"on {self.device}, version {self.version}, {grad}; made by the user, or computed without recording"
        freed = "; freed by backward(): inputs and saved arrays are gone" * self.freed
        return f"on {self.device}, version {self.version}{freed}"


def _layers(caller):
    return " > ".join(f"{path} ({kind})" if path else kind for path, kind in caller.layers) if caller else ""


def _given(i):
    kind = ", a leaf" * i.leaf + ", requires no grad" * (not i.requires_grad)
    return f"{i.name} {i.shape} {i.dtype}{kind}"


def _paragraph(name, texts):
    """Lines of text, the name in front of the first; none if there is no text."""
    lines = [line for text in texts if text for line in text.split("\n")]
    return [f"  {'' if k else name:<13}{line}" for k, line in enumerate(lines)]


def _defined(name, separator, text):
    """One line, or several behind the name of what they define."""
    return f"{name}:\n{indent(text, '    ')}" if "\n" in text else f"{name}{separator}{text}"


# ---------------------------------------------------------------------------------------- finding out

@function
def explain(input):
    """How the tensor came to be: op, formulas, caller, shapes, memory.  Returns an Explanation; prints nothing."""
    node, known = input._node, dict(shape=input.shape, dtype=input.dtype, device=input.device,
                                    requires_grad=input.requires_grad, version=input._version)
    if node is None:
        return Explanation(op=None, **known)
    operation, freed = _operation(node), node.vjps is None
    known |= dict(op=node.name, caller=getattr(node, "caller", None), freed=freed, formula=_first_paragraph(operation),
                  source=_place(operation))
    if freed:
        return Explanation(**known)
    names, vjps = _names(operation, node.parents), _vjps(node)
    all_vjps = [f for f in ((node.vjps,) if callable(node.vjps) else node.vjps) if f is not None]
    stamps = {id(t): (version, content) for t, version, content in node.saved}
    held = [held for f in all_vjps for held in _held(f)]
    saved = {id(v): Saved(name, v.shape, v.dtype, _changed(v, *stamps.get(id(v), ()))) for name, v in held}
    arrays = [_array(v) for _, v in held]
    return Explanation(
        inputs=tuple(Input(n, p.shape, p.dtype, p.is_leaf, p.requires_grad)
                     for n, p in zip(names, node.parents) if p is not None),
        gradients=tuple((_JOINT if i is None else names[i], formula(f)) for i, f in vjps.items()),
        definitions=definitions(list(vjps.values())), saved=tuple(saved.values()), saved_bytes=_bytes(arrays),
        kept_bytes=_bytes([*arrays, *(p.data for p in node.parents if p is not None)]),
        needs_output=node.output is not None, changed=node.output is not None and _changed(input, *node.output),
        **known)


def _operation(node):
    """The op as the user calls it, or None: for one of the user's if it was defined in a module and is not freed."""
    first = next(iter(_vjps(node).values()), None)
    if first is None or first.__module__.startswith(__package__ + "."):
        return OPS.get(node.name)
    found = getattr(sys.modules.get(first.__module__), first.__qualname__.partition(".")[0], None)
    return found if callable(found) else None


def _vjps(node):
    """{position of the input: its vjp}; {None: the vjp} if it is one for all."""
    if callable(node.vjps):
        return {None: node.vjps}
    return {i: f for i, f in enumerate(node.vjps or ()) if f is not None and i < len(node.parents)
            and node.parents[i] is not None}


def _first_paragraph(operation):
    return " ".join((getattr(operation, "__doc__", None) or "").partition("\n\n")[0].split())


def _place(operation):
    """file:line, for the engine's own from its folder on."""
    code = getattr(unwrap(operation), "__code__", None) if operation else None
    return f"{short_path(code.co_filename)}:{code.co_firstlineno}" if code else ""


def _names(operation, parents):
    """What the op calls its inputs; those of a list by its name, `tensors`, and their number."""
    names = list(signature(operation).parameters) if operation else []
    if len(names) < len(parents) or names[0] == "tensors":
        return [f"{names[0] if names else 'input'}[{i}]" for i in range(len(parents))]
    return names


def _held(vjp: FunctionType) -> Iterator[tuple[str, Any]]:
    """(name, tensor or array) of all that a vjp mentions and so keeps alive, also in containers and local functions."""
    stack, seen = [("", vjp)], set()
    while stack:
        name, value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor) or hasattr(value, "strides") and hasattr(value, "nbytes"):
            yield name, value
        elif isinstance(value, FunctionType):
            stack += [*mentioned(value), *((name, v) for v in value.__defaults__ or ())]
        elif isinstance(value, partial):
            stack += [(name, v) for v in (value.func, *value.args, *value.keywords.values())]
        elif isinstance(value, (tuple, list)):
            stack += [(f"{name}[{i}]", v) for i, v in reversed([*enumerate(value)])]
        elif type(value).__module__.startswith(f"{__package__}.ops"):
            stack += [(f"{name}.{part}", v) for part, v in vars(value).items()]
        elif isinstance(value, dict):
            stack += [(f"{name}[{k!r}]", v) for k, v in value.items()]


def _array(value):
    return value.data if isinstance(value, Tensor) else value


def _bytes(arrays):
    """What the arrays take in memory, those that share it once; a view counts as all it is a view of."""
    owners = {}
    for a in arrays:
        while type(a.base) is type(a):
            a = a.base
        owners[id(a)] = a.nbytes
    return sum(owners.values())


def _changed(t, *stamp):
    """Whether a tensor is no longer what it was when it was saved with this (version, fingerprint)."""
    return bool(stamp) and (t._version, fingerprint(t.data)) != stamp
