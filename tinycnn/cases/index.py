"""Rows of ops/index.py."""
import numpy as np

from . import case

_MASK = np.array([[True, False, True], [False, True, False]])
_ROWS = np.array([2, 0, 2])                                               # one of them twice
_AT = np.array([[0, 1, 1], [1, 1, 0]])
_ONCE = np.array([[1, 0, 2], [0, 2, 1]])

CASES = [
    *[case("getitem", (3, 4), index=index) for index in (
        1, -1, (2, 3), slice(1, None), (slice(None), slice(0, 4, 2)), (..., 0), None, (0, None, slice(1, 3)),
        (slice(0, 0),), [2, 0, 2], (slice(None), [1, 1]), ([0, 2], [3, 1]), ([[0], [2]], [1, 1, 3]))],
    case("getitem", (2, 3, 4), index=([0, 1, 1], slice(None), [2, 2, 2])),
    case("getitem", (2, 3, 2), index=(0, slice(None), [1, 0, 1])),            # the int first, then the list
    case("getitem", (2, 3), index=_MASK),
    case("getitem", (2, 3), index=np.array([False, True])),
    case("index_select", (3, 2), 0, _ROWS),
    case("index_select", (2, 3), -1, _ROWS),
    case("gather", (2, 3), 0, _AT),
    case("gather", (3, 2), 1, np.array([[0, 1, 0], [1, 1, 1]])),
    case("take_along_dim", (2, 3), _AT, dim=0),
    case("take_along_dim", (2, 3), np.array([[0], [1]]), dim=1),
    case("take_along_dim", (2, 3), _AT[:1] * 2, dim=1),                       # the same places of every row
    case("take_along_dim", (1, 3), _ONCE, dim=1),
    case("take_along_dim", (2, 3), np.array([5, 0, 5])),
    case("scatter", (2, 3), 1, _ONCE, (2, 3)),
    case("scatter", (2, 3), 1, _ONCE[:, :2], (2, 2)),
    case("scatter", (2, 3), 0, _AT[:1], 2.5),
    case("scatter_add", (2, 3), 0, _AT, (2, 3)),
    case("scatter_add", (2, 3), -1, _ONCE[:1], (1, 3)),
    case("repeat_interleave", (2, 3), 2),
    case("repeat_interleave", (2, 3), np.array([2, 0, 1]), dim=1),
    case("masked_fill", (2, 3), _MASK, 2.0),
    case("masked_fill", (2, 3), _MASK[:1], ()),
    case("masked_select", (2, 3), _MASK),
    case("masked_select", (3,), _MASK),
    case("nonzero", _MASK, grads=0),
    case("nonzero", np.array(3), grads=0),
    case("one_hot", np.array([[0, 2], [1, 1]]), grads=0),
    case("one_hot", np.array([1, 0]), grads=0, num_classes=4),
]
