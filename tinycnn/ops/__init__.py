"""The differentiable operations, one file a family.  Names, arguments and defaults: torch's."""
from . import basic, conv
