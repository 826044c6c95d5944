"""What load_state_dict does with a mapping: everything is checked first, then everything is copied."""
from __future__ import annotations

from typing import Any, Mapping, NamedTuple

from ..dtypes import is_floating
from ..autograd import Tensor, as_array, no_grad


COUNTER = "num_batches_tracked"                      # files from before PyTorch 0.4.1 (2018) have none: they stay at 0


class LoadResult(NamedTuple):
    """The keys that did not match, as torch returns them."""
    missing_keys: list[str]
    unexpected_keys: list[str]


def load(name: str, mine: dict[str, Tensor], state_dict: Mapping[str, Any], strict: bool) -> LoadResult:
    """Copy arrays into the tensors `mine` of the same names, or raise and change nothing.  `name` is the module's."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"{name}.load_state_dict: expected a mapping of names to arrays, got a "
                        f"{type(state_dict).__name__}" + _path_hint(state_dict))
    given = {key: as_array(v) for key, v in state_dict.items()}
    missing, unexpected = [key for key in mine if key not in given], [key for key in given if key not in mine]
    if not any(key.endswith(COUNTER) for key in given):
        missing = [key for key in missing if not key.endswith(COUNTER)]
    both = [key for key in mine if key in given]
    complaints = _list("missing keys", missing) + _list("unexpected keys", unexpected) if strict else []
    complaints += _list("wrong shapes", (f"{key}: expected {mine[key].shape}, got {given[key].shape}" for key in both
                                         if mine[key].shape != given[key].shape))
    complaints += _list("wrong kinds", (f"{key}: expected {mine[key].dtype}, got {given[key].dtype}" for key in both
                                        if is_floating(given[key].dtype) and not is_floating(mine[key].dtype)))
    if complaints:
        cure = "; strict=False ignores keys that do not match" if strict and (missing or unexpected) else ""
        raise ValueError(f"{name}.load_state_dict: {'. '.join(complaints)}. The state must come from a model of the "
                         f"same architecture and sizes{cure}")
    with no_grad():
        for key in both:
            mine[key].copy_(Tensor(given[key]))
    return LoadResult(missing, unexpected)


def _list(what, items):
    found = "; ".join(items)
    return [f"{what}: {found}"] if found else []


def _path_hint(v):
    return ": load the file first, tc.load(path)" if isinstance(v, str) or hasattr(v, "__fspath__") else ""
