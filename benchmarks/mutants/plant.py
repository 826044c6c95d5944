"""A mutant in this process, from the next import on; nothing is written but into a folder that is thrown away.

    Python      an import hook hands out the changed text
    Numba       what the mutant does not reach comes from the machine code that is kept on disk; what it does is
                compiled anew, and nothing is kept
    CUDA C      a copy of the sources, changed, and libraries of the emulator that are linked to those in the cache
"""
from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

from .graph import reached
from .rules import Mutant
from .sample import ROOT


def plant(mutant: Mutant, folder: Path) -> set[str]:
    """Plant a mutant; `folder` is an empty one for what must be written.  -> the names of what it reaches."""
    if not mutant.file.endswith(".py"):
        return _plant_into_cuda(mutant, folder)
    definitions = reached(mutant)
    hand_out(mutant, module_name(mutant.file), ROOT / mutant.file)
    _compile_anew({(module_name(file), name) for file, name in definitions})
    return {name.strip("_") for _, name in sorted(definitions, key=definitions.get)}


def module_name(file: str) -> str:
    """kernels/cpu/pool.py -> tinycnn.kernels.cpu.pool"""
    name = file.removesuffix(".py").replace("/", ".")
    return f"tinycnn.{name}" if name.startswith("kernels.") else name


def hand_out(mutant: Mutant, module: str, path: Path) -> None:
    """Let the next import of `module`, which is at `path`, give the mutant."""
    sys.meta_path.insert(0, _Finder(module, path, mutant))


class _Finder(MetaPathFinder):
    """Finds one module, with the mutant in it."""

    def __init__(self, name, path, mutant):
        self.name, self.path, self.mutant = name, path, mutant

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return spec_from_file_location(name, self.path, loader=_Loader(name, self.path, self.mutant))
        return None


class _Loader(SourceFileLoader):
    def __init__(self, name, path, mutant):
        super().__init__(name, str(path))
        self._mutant = mutant

    def get_code(self, fullname):
        return compile(self._mutant.applied(Path(self.path).read_text(encoding="utf-8")), self.path, "exec")


def _compile_anew(definitions):
    """Let Numba's functions among these (module, name) have no machine code on disk, and the others only read it."""
    dispatcher = import_module("numba.core.dispatcher").Dispatcher
    keep = dispatcher.enable_caching

    def enable_caching(self):
        function = self.py_func
        if (function.__module__, function.__qualname__.partition(".")[0]) not in definitions:
            keep(self)
    dispatcher.enable_caching = enable_caching
    import_module("numba.core.caching").Cache.save_overload = lambda *_: None


def _plant_into_cuda(mutant, folder):
    sources, libraries = folder / "cuda", folder / "emulator"
    shutil.copytree(ROOT / "kernels" / "cuda", sources, ignore=shutil.ignore_patterns("__pycache__"))
    changed = sources / Path(mutant.file).name
    changed.write_text(mutant.applied(changed.read_text(encoding="utf-8")), encoding="utf-8")
    libraries.mkdir()
    for library in import_module("tinycnn.kernels.emulator.build").cache_folder().glob("*.so"):
        (libraries / library.name).symlink_to(library)
    os.environ["TINYCNN_EMULATOR_CACHE"] = str(libraries)
    import_module("tinycnn.kernels.cuda.launch").FOLDER = sources
    return kernels_of(mutant.file)


def kernels_of(file: str) -> set[str]:
    """The words in the names of a CUDA source's kernels, by which the tests of kernels are found."""
    return {"norm": {"norm"}, "pool": {"pool2d"}, "loss": {"softmax", "cross_entropy", "dropout"},
            "optim": {"update"}, "index": {"scatter_add"}, "conv": {"conv2d", "im2col", "col2im"},
            "direct": {"conv2d"}, "elementwise": {"relu", "gate", "erf", "dropout"}}.get(Path(file).stem, {""})
