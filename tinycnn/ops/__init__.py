"""The differentiable operations, one file a family.  Names, arguments and defaults: torch's."""
from . import activation, basic, conv, dropout, linear, loss, norm, pool
