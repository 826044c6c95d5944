"""Which definitions use which, in the sources that are mutated: by names and imports, without running anything."""
from __future__ import annotations

import ast
from functools import cache

from .rules import Mutant
from .sample import GROUPS, files, text_of

Definition = tuple[str, str]                         # file, name at its top level


def reached(mutant: Mutant) -> dict[Definition, int]:
    """What a mutant of a Python file can change: the definitions it lies in (0 steps), those that use them (1), ..."""
    of, steps = users(), {}
    new = {(mutant.file, name) for name in _defined_at(mutant.file, mutant.line)}
    while new:
        steps.update(dict.fromkeys(new, max(steps.values(), default=-1) + 1))
        new = {user for used in new for user in of.get(used, ())} - steps.keys()
    return steps


def _defined_at(file, line):
    """The names that the statement at a line defines; all of the file if it defines none."""
    for node in ast.parse(text_of(file)).body:
        if node.lineno - len(getattr(node, "decorator_list", ())) <= line <= node.end_lineno:
            return _targets(node) or _definitions(file)
    return _definitions(file)


def _targets(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return [n.id for target in getattr(node, "targets", None) or [node.target] for n in ast.walk(target)
                if isinstance(n, ast.Name)]
    return []


@cache
def _definitions(file):
    return {name: node for node in ast.parse(text_of(file)).body for name in _targets(node)}


@cache
def users() -> dict[Definition, set[Definition]]:
    """Definition -> the definitions that mention it."""
    found = {}
    for file in (f for group in GROUPS for f in files(group) if f.endswith(".py")):
        known = {name: (file, name) for name in _definitions(file)} | _imported(file)
        for user, node in _definitions(file).items():
            for used in _mentioned(node, known):
                found.setdefault(used, set()).add((file, user))
            for decorator in getattr(node, "decorator_list", ()):
                for argument in getattr(decorator, "args", ()):              # @overload(exp): exp is what stands here
                    found.setdefault((file, user), set()).update(_mentioned(argument, known))
    return found


def _imported(file):
    """Local name -> the definition in another file, or that file itself: (file, None)."""
    found, folder = {}, file.rpartition("/")[0]
    for node in ast.walk(ast.parse(text_of(file))):
        if isinstance(node, ast.ImportFrom) and node.level:
            home = "/".join(folder.split("/")[:len(folder.split("/")) + 1 - node.level])
            for name in node.names:
                path = f"{home}/{node.module}".replace(".", "/") if node.module else home
                module = f"{path}/{name.name}.py"
                found[name.asname or name.name] = (module, None) if module in _all() else (f"{path}.py", name.name)
    return found


@cache
def _all():
    return {f for group in GROUPS for f in files(group)}


def _mentioned(node, known):
    for n in ast.walk(node):
        if isinstance(n, ast.Name) and n.id in known:
            yield known[n.id]
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name):
            file, name = known.get(n.value.id, (None, ""))
            if name is None:
                yield file, n.attr
