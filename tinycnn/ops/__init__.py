"""The differentiable operations, one file a family.  Names, arguments and defaults: torch's."""
from . import (
    activation,
    basic,
    conv,
    creation,
    dropout,
    image,
    index,
    inplace,
    linalg,
    linear,
    loss,
    math,
    norm,
    pool,
    reduce,
    shape,
)
