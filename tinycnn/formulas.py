"""The formula of a vjp, read off its source: what is shown is what is run, and nothing is written down twice.

    lambda g: sum_to(mul(g, other), a)      ->      sum_to(g * other, a),    a = (3, 4)

A function's source is found by its line and columns, which Python keeps for every instruction.  Calls of the engine's
arithmetic become operators, which is what Tensor's operators are; all else stays as it stands in the source.  Local
functions that a formula calls, and private ones of its module, come with formulas of their own.
"""
from __future__ import annotations

import ast
from functools import lru_cache
from linecache import getlines
from types import CodeType, FunctionType, ModuleType
from typing import Any, Iterator

from .methods import FUNCTIONS, TensorMethods

_OPERATORS = {"add": ast.Add, "sub": ast.Sub, "mul": ast.Mult, "div": ast.Div, "pow": ast.Pow}
_LONGEST = 80                                        # characters of a constant
_texts: dict[CodeType, str] = {}                     # formulas found so far


def formula(function: FunctionType) -> str:
    """What the function returns, as one expression, or its whole body if it has more than a return; "" if its source
    is not at hand.
    """
    code = function.__code__
    if code not in _texts:
        _texts[code] = _text(function)
    return _texts[code]


def _text(function):
    node = _find(function)
    if node is None:
        return ""
    node = _Infix(function).visit(ast.parse(ast.unparse(node)).body[0])
    if isinstance(node, ast.Expr):                   # a lambda
        return ast.unparse(node.value.body)
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if len(body) == 1 and isinstance(body[0], ast.Return):
        return ast.unparse(body[0].value)
    return "\n".join(map(ast.unparse, body))


def arguments(function: FunctionType) -> str:
    """The names of its parameters: "g, y"."""
    code = function.__code__
    return ", ".join(code.co_varnames[:code.co_argcount])


def mentioned(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """(name, value) of what a function takes from the one around it."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield name, cell.cell_contents
        except ValueError:                           # a name the op has not bound
            continue


def definitions(functions: list[FunctionType]) -> dict[str, str]:
    """The names in the formulas of `functions` that mean nothing by themselves, with what they stand for.

    Constants, and functions: "slope(g, y)" -> "g * (1 - y * y)".  Tensors and arrays are left to those who ask what is
    saved.
    """
    found: dict[str, str] = {}
    stack, seen = list(reversed(functions)), {id(f) for f in functions}
    while stack:
        f = stack.pop()
        for name, value in [*mentioned(f), *_helpers(f)]:
            if isinstance(value, FunctionType):
                if id(value) not in seen:
                    seen.add(id(value))
                    found[f"{name}({arguments(value)})"] = formula(value)
                    stack.append(value)
            elif not _is_data(value):
                text = _constant(value)
                if found.setdefault(name, text) != text:              # another function's
                    found[f"{name} in {f.__name__}({arguments(f)})"] = text
    return found


def _helpers(function):
    """The private functions of its own module that it calls."""
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if name.startswith("_") and isinstance(value, FunctionType) and value.__module__ == function.__module__:
            yield name, value


def _is_data(value):
    """A tensor, an array, or several."""
    if isinstance(value, (tuple, list)):
        return bool(value) and any(_is_data(v) for v in value)
    return isinstance(value, TensorMethods) or hasattr(value, "strides")


def _constant(value):
    text = value.__name__ if isinstance(value, ModuleType) else repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST - 3] + "..."


# ---------------------------------------------------------------------------------------- finding the source

def _find(function):
    """The node of the syntax tree that a function was made of: of those that begin in its line the smallest that holds
    all places its instructions stem from.
    """
    code = function.__code__
    begun = _functions(code.co_filename).get(code.co_firstlineno, ())
    places = [(line, column) for line, _, column, end in code.co_positions() if end and column is not None]
    fits = [node for node in begun if all(_begin(node) <= p < _end(node) for p in places)]
    return min(fits, key=_end, default=None)


def _begin(node):
    return node.lineno, node.col_offset


def _end(node):
    return node.end_lineno, node.end_col_offset


@lru_cache(maxsize=64)
def _functions(filename):
    """{line: the functions that begin there} of a file."""
    found: dict[int, list[ast.AST]] = {}
    try:
        tree = ast.parse("".join(getlines(filename)))
    except SyntaxError:
        return found
    for node in ast.walk(tree):
        if isinstance(node, (ast.Lambda, ast.FunctionDef)):
            found.setdefault(node.lineno, []).append(node)
    return found


class _Infix(ast.NodeTransformer):
    """mul(g, y) -> g * y, neg(g) -> -g, where these names are the engine's ops."""

    def __init__(self, function):
        self.globals = function.__globals__

    def visit_Call(self, node):
        """A call, after the calls in its arguments."""
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS or self.globals.get(name) is not FUNCTIONS[name] or node.keywords:
            return node
        if name in _OPERATORS and len(node.args) == 2:
            return ast.BinOp(node.args[0], _OPERATORS[name](), node.args[1])
        return ast.UnaryOp(ast.USub(), node.args[0]) if name == "neg" else node
