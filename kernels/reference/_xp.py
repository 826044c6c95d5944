"""Which array library an array belongs to, so that the reference runs on the GPU as it is written."""
import sys
from types import ModuleType


def array_module(array) -> ModuleType:
    """numpy for a NumPy array, cupy for a CuPy array: the package that defines the array's type."""
    return sys.modules[type(array).__module__.partition(".")[0]]
