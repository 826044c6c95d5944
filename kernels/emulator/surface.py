"""What CuPy has: its functions, ufuncs, constants and array methods with their parameters, as cupy_surface.json says.

The stand-in for CuPy (device.py) is NumPy underneath; it offers no more than this, so that code which runs on it does
not fail on CuPy for a name or an argument.  The file is made from an installed CuPy, for which no GPU is needed:

    python -m tinycnn.kernels.emulator.surface
"""
from __future__ import annotations

import inspect
import json
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("cupy_surface.json")
_UFUNC = ["out", "dtype", "casting"]                 # what ufuncs take by name; `where` they do not
SCANNED = ("add", "multiply")                        # ufuncs with .accumulate and .reduce
SCATTERED = ("add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor")       # ... with .at
ADDED = ("int32", "int64", "uint32", "uint64", "float16", "float32", "float64")             # dtypes of add.at


def of(cupy: Any) -> dict[str, Any]:
    """The surface of an imported CuPy: names -> parameters, or None where any are taken or none are known."""
    public = {name: getattr(cupy, name) for name in dir(cupy) if not name.startswith("_")}
    ufuncs = sorted(name for name, found in public.items() if isinstance(found, cupy.ufunc))
    functions = {name: _UFUNC if name in ufuncs else _signed(found) for name, found in public.items()}
    methods = {name: _documented(getattr(cupy.ndarray, name)) for name in dir(cupy.ndarray) if not name.startswith("_")}
    return {"version": cupy.__version__, "functions": functions, "methods": methods, "ufuncs": ufuncs}


def _signed(function):
    if not inspect.isfunction(function):
        return None
    parameters = inspect.signature(function).parameters.values()
    return None if any(p.kind == p.VAR_KEYWORD for p in parameters) else [p.name for p in parameters]


def _documented(method):
    """The parameters of a method of a compiled class, from the first line of its documentation."""
    line = (getattr(method, "__doc__", None) or "").partition("\n")[0]
    found = re.match(r"\w+\.\w+\(self(?:, (.*?))?\)(?: ->.*)?$", line)
    if not found or not callable(method):
        return None
    words = (part.split("=")[0].split()[-1] for part in re.split(r",\s*", found[1] or "") if part)
    return [w for w in words if not w.startswith("*")]


@cache
def known() -> dict[str, Any]:
    """The committed surface."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def check(table: str, name: str, keywords: Any = ()) -> None:
    """Raise unless CuPy has the name in "functions" or "methods" (AttributeError) with these keywords (TypeError)."""
    names, where = known()[table], f"CuPy {known()['version']}"
    if name not in names:
        raise AttributeError(f"{where} has no {'ndarray.' if table == 'methods' else ''}{name}")
    wrong = [k for k in keywords if names[name] is not None and k not in names[name]]
    if wrong:
        raise TypeError(f"{name} of {where} takes no {', '.join(wrong)}, only {', '.join(names[name])}")


def check_ufunc(name: str, method: str, dtype: Any) -> None:
    """Raise NotImplementedError or TypeError unless CuPy's ufunc `name` has the method, for arrays of that dtype."""
    if method in ("reduce", "accumulate") and name not in SCANNED or method == "at" and name not in SCATTERED:
        raise NotImplementedError(f"`cupy_{name}.{method}` is not supported by CuPy {known()['version']}")
    if method == "at" and name == "add" and dtype.name not in ADDED:
        raise TypeError(f"cupy.add.at only supports {', '.join(ADDED)}, not {dtype}")


if __name__ == "__main__":
    text = json.dumps(of(import_module("cupy")), indent=1)
    FILE.write_text(re.sub(r"\[[^]]*\]", lambda found: " ".join(found[0].split()), text) + "\n", encoding="utf-8")
