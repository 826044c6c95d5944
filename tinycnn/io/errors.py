"""The one error of all readers of this folder."""
from __future__ import annotations


class FileFormatError(ValueError):
    """A file is not what it should be: damaged, cut short, or made to mislead."""
