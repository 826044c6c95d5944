"""Files: checkpoints of nested data, weights as .safetensors, and writing that is all or nothing."""
from .atomic import write_atomically
from .checkpoint import CheckpointError, load, save
from .safetensors import FileFormatError, load_safetensors, save_safetensors

__all__ = ["CheckpointError", "FileFormatError", "load", "load_safetensors", "save", "save_safetensors",
           "write_atomically"]
