"""Files: checkpoints of nested data, weights (.safetensors, .npz, PyTorch's .pth), writing that is all or nothing."""
from .atomic import write_atomically
from .checkpoint import CheckpointError, load, save
from .errors import FileFormatError
from .pth import load_pth
from .safetensors import load_safetensors, save_safetensors
from .weights import load_weights, save_weights

__all__ = ["CheckpointError", "FileFormatError", "load", "load_pth", "load_safetensors", "load_weights", "save",
           "save_safetensors", "save_weights", "write_atomically"]
