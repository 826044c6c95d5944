"""The weights of a model by name, from whatever kind of file they are in."""
from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import write_atomically
from .checkpoint import load
from .errors import FileFormatError
from .foreign import load_foreign
from .npz import encode_npz
from .safetensors import plain_array, read, save_safetensors

PLACES = ("state_dict", "model", "model_state_dict", "net", "params")      # where training programs keep the weights
WRAPPERS = ("module.", "_orig_mod.")                 # what DataParallel and torch.compile put before every name
# The names in torchvision's DenseNet files are older than the rule that names hold no dots (its densenet.py too).
_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))")


def load_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file of weights by name, ready for load_state_dict.

    Reads .safetensors, .npz, tinycnn's checkpoints and PyTorch's files (.pth, .pt, .th, .bin, .tar), told apart by
    their content.  In checkpoints the weights are looked for under state_dict, model, model_state_dict, net and
    params; `module.` and `_orig_mod.` before all names are taken off; DenseNet's old names become the new ones.
    bfloat16 becomes float32.  Arrays may be views of the file (see mapped.py).

    Raises FileFormatError for damaged files and for files without weights; nothing in a file can run code.  Raises
    OSError if it cannot be read.
    """
    found = _content(path)
    weights = next((w for w in _candidates(found) if _are_weights(w)), None)
    if weights is None:
        inside = ", ".join(map(str, list(found)[:8]))[:200] if type(found) is dict else f"a {type(found).__name__}"
        raise FileFormatError(f"{path}: no dict of arrays in it, nor under {', '.join(PLACES)}; it holds {inside}")
    renamed = {_new_name(name): array for name, array in _unwrapped(weights).items()}
    if len(renamed) != len(weights):
        raise FileFormatError(f"{path}: it has arrays under a DenseNet's old and new names at once")
    return renamed


def save_weights(arrays: Mapping[str, Any], path: str | Path) -> None:
    """Write arrays or Tensors by name to a .safetensors or .npz file, all or nothing.

    Raises ValueError for another suffix or a name the format cannot have, TypeError for what is no array of numbers,
    OSError if the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        save_safetensors(arrays, path)
    elif suffix == ".npz":
        for name in arrays:
            if not isinstance(name, str) or not re.fullmatch(r"[\w.\- ]+", name) or name in (".", ".."):
                raise ValueError(f"{name!r} cannot be the name of a file in an .npz archive: use letters, digits, "
                                 "'.', '_' and '-'")
        write_atomically(path, encode_npz({name: plain_array(a) for name, a in arrays.items()}))
    else:
        raise ValueError(f"{path}: weights are written as .safetensors or .npz, not as {suffix or 'no suffix'!r}")


def _content(path):
    """What the file holds, by the reader that its first bytes ask for."""
    with open(path, "rb") as f:
        head = f.read(9)
    if head[:4] == b"PK\3\4" or head[8:] != b"{":
        return load_foreign(path)
    arrays, metadata = read(path, mmap=True)
    return load(path) if "tree" in metadata else arrays


def _candidates(found):
    if type(found) is dict:
        yield found
        yield from (found[place] for place in PLACES if place in found)


def _are_weights(found):
    return type(found) is dict and len(found) > 0 and all(
        type(name) is str and isinstance(array, np.ndarray) for name, array in found.items())


def _unwrapped(weights):
    """Without the prefixes that wrappers put before all names."""
    for prefix in WRAPPERS * 2:                      # either may be inside the other
        if all(name.startswith(prefix) and name != prefix for name in weights):
            weights = {name.removeprefix(prefix): array for name, array in weights.items()}
    return weights


def _new_name(name):
    old = _DENSENET.fullmatch(name)
    return old[1] + old[2] if old else name
