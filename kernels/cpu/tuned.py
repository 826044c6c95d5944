"""Choices of algorithms that were measured on this machine: where `tinycnn tune` found one faster than the table's.

    {"format": 1, "processor": "sapphirerapids", "vector_bytes": 64, "kernels": "5b2c...",
     "choices": [{"pass": "weight", "inside": 64, "outside": 64, "groups": 1, "dtype": "float32",
                  "window": {"H": 56, "W": 56, "KH": 3, ...}, "algorithm": "direct"}, ...]}

It is read when the first convolution is computed, from the file that TINYCNN_TUNED names ("off": from none), by default
from the user's cache folder.  A file for another processor or other kernels, or one that is damaged, is not used, and a
warning says so.  Without a file the table of choose.py stands: then the same sources compute the same bits everywhere.
"""
import json
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np

from ..geometry import Window
from .cache import sources, users_folder
from .vector import BYTES

FORMAT = 1
PASSES, ALGORITHMS = ("output", "input", "weight"), ("direct", "winograd2", "winograd4", "grouped")


class Layer(NamedTuple):
    """What a choice depends on: choose.algorithm's arguments.  Nothing of the batch, and nothing of threads."""
    pass_: str
    win: Window
    inside: int
    outside: int
    groups: int
    dtype: np.dtype


_wanted: "str | os.PathLike | bool | None" = None    # what the program chose: see `use`
_choices: "dict[Layer, str] | None" = None           # None: the file has not been looked for
_state = "not looked for yet"
_noted: "list[Layer] | None" = None


def choice(layer):
    """The algorithm that was measured to be the fastest, or None."""
    if _noted is not None:
        _noted.append(layer)
    if _choices is None:
        _load()
    return _choices.get(layer)


def use(file=None):
    """Take the choices of a file from now on.

    file   a path; None: the one that TINYCNN_TUNED names, or the user's own (the default); False: none, the table alone

    Raises OSError if that path cannot be read, ValueError if it is damaged or for another machine or other kernels.
    """
    global _wanted, _choices
    if file not in (None, False):
        read(file)
    _wanted, _choices = file, None


def state():
    """Which choices are in use, in words."""
    if _choices is None:
        _load()
    return _state


def place():
    """The path of the file that is looked for, or None."""
    if _wanted is not None:
        return Path(_wanted) if _wanted is not False else None
    named = os.environ.get("TINYCNN_TUNED")
    if named:
        return None if named == "off" else Path(named)
    folders = users_folder()
    return folders[0] / f"tuned-{llvm.get_host_cpu_name()}-{8 * BYTES}.json" if folders else None


def _machine():
    return {"processor": llvm.get_host_cpu_name(), "vector_bytes": BYTES, "kernels": sources()}


def _load():
    global _choices, _state
    path, _choices, _state = place(), {}, "none: the table's choices"
    if path is None or not path.exists():
        return
    try:
        _choices = read(path)
        _state = f"{len(_choices)} choices of {path}"
    except (OSError, ValueError) as error:
        _state = f"not used: {error}"
        warnings.warn(f"the tuned choices of convolutions are not used: {error}; `tinycnn tune` measures anew, "
                      "`tinycnn tune --reset` removes the file", RuntimeWarning, stacklevel=2)


def read(path):
    """{Layer: algorithm} of a file.  Raises OSError, or ValueError saying what is wrong with it."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        choices = dict(map(_entry, content["choices"]))
        found = {name: content[name] for name in _machine()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or no file of tuned choices ({type(error).__name__}: {error})") from None
    for name, here in _machine().items():
        if found[name] != here:
            raise ValueError(f"{path} was measured with another {name.replace('_', ' ')} ({found[name]}, here {here})")
    return choices


def _entry(given):
    """(Layer, algorithm) of an entry; checked."""
    win = Window(**{name: _whole(n) for name, n in given["window"].items()})
    numbers = (_whole(given[name]) for name in ("inside", "outside", "groups"))
    layer = Layer(given["pass"], win, *numbers, np.dtype(given["dtype"]))
    if layer.pass_ not in PASSES or given["algorithm"] not in ALGORITHMS:
        raise ValueError(f"pass {layer.pass_!r}, algorithm {given['algorithm']!r}")
    return layer, given["algorithm"]


def _whole(n):
    if type(n) is not int:
        raise TypeError(f"{n!r} is no whole number")
    return n


def text(choices):
    """The content of a file for {Layer: algorithm}."""
    entries = [{"pass": layer.pass_, "inside": layer.inside, "outside": layer.outside, "groups": layer.groups,
                "dtype": layer.dtype.name, "window": layer.win._asdict(), "algorithm": how}
               for layer, how in choices.items()]
    head = json.dumps({"format": FORMAT, **_machine()})[:-1]
    return head + ', "choices": [\n ' + ",\n ".join(map(json.dumps, entries)) + "]}\n"


@contextmanager
def trying(choices):
    """`with` block in which these choices, {Layer: algorithm}, are in use and no others."""
    global _choices
    before, _choices = _choices, choices
    try:
        yield
    finally:
        _choices = before


@contextmanager
def noted():
    """`with noted() as layers`: a list of the layers whose algorithm is asked for in the block."""
    global _noted
    before, _noted = _noted, []
    try:
        yield _noted
    finally:
        _noted = before
