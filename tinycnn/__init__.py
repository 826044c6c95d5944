"""tinycnn"""
from . import _checkout  # noqa: F401  (first)
