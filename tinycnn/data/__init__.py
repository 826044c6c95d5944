"""Data sets of images, their transforms, and the loader that cuts them into batches.

    train, test = load_dataset("digits")             # or "mnist", "fashion_mnist", "cifar10", "cifar100"
    for images, labels in DataLoader(train, 64, shuffle=True, seed=0):
        ...                                          # NumPy arrays (64, C, H, W) float32 and (64,) int64

NumPy and the standard library are all this package needs.
"""
from . import transforms
from .datasets import Dataset, channels, list_datasets, load_dataset
from .download import DownloadError
from .errors import DataError
from .loader import DataLoader
