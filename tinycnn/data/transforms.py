"""Changes of batches of images (N, C, H, W), random ones drawn from a generator that is passed in.

A transform is called with images and a generator and returns images; Mixup and what `augmentation` makes also take
and return the labels.  Given the same generator they do the same: nothing depends on threads or global state.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import DataError

CHANGES = ("crop", "flip", "cutout", "mixup")


class _Transform:
    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class Compose(_Transform):
    """Several transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = list(transforms)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        for t in self.transforms:
            images = t(images, rng)
        return images


class ToFloat(_Transform):
    """Unsigned bytes 0..255 to float32 0..1."""

    def __call__(self, images: np.ndarray, rng: Any = None) -> np.ndarray:
        return images.astype(np.float32) / np.float32(255)


class Normalize(_Transform):
    """(image - mean) / std, per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = tuple(mean), tuple(std)

    def __call__(self, images: np.ndarray, rng: Any = None) -> np.ndarray:
        mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return ((images - mean) / std).astype(np.float32)


class RandomCrop(_Transform):
    """A size x size part at a random place, of the image with a border of zeros."""

    def __init__(self, size: int, padding: int = 0):
        self.size, self.padding = size, padding

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        p, k = self.padding, self.size
        padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)))
        N, _, H, W = padded.shape
        if k > H or k > W:
            raise ValueError(f"RandomCrop: size {k} is larger than the padded image, {H}x{W}")
        top, left = rng.integers(0, H - k + 1, N), rng.integers(0, W - k + 1, N)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (2, 3))
        return windows[np.arange(N), :, top, left]                        # (N, C, size, size)


class RandomHorizontalFlip(_Transform):
    """Left and right exchanged with probability p."""

    def __init__(self, p: float = 0.5):
        self.p = p

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        flipped = rng.random(len(images)) < self.p
        return np.where(flipped[:, None, None, None], images[..., ::-1], images)


class Cutout(_Transform):
    """A square of zeros at a random place, partly outside perhaps.  DeVries & Taylor 2017."""

    def __init__(self, size: int):
        self.size = size

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        N, _, H, W = images.shape
        y, x = rng.integers(0, H, (N, 1)), rng.integers(0, W, (N, 1))
        rows, columns = ((np.arange(n) >= c - self.size // 2) & (np.arange(n) < c + self.size - self.size // 2)
                         for n, c in ((H, y), (W, x)))
        hole = rows[:, None, :, None] & columns[:, None, None, :]         # (N, 1, H, W)
        return np.where(hole, images.dtype.type(0), images)


class Mixup:
    """Every image mixed with another, and the labels likewise.  Zhang et al. 2018, section 2.

    (N, C, H, W), (N,) -> the images and (N, classes) probabilities
    """

    def __init__(self, classes: int, alpha: float = 0.2):
        self.classes, self.alpha = classes, alpha

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple:
        share, other = images.dtype.type(rng.beta(self.alpha, self.alpha)), rng.permutation(len(images))
        hot = np.eye(self.classes, dtype=images.dtype)[labels]
        return share * images + (1 - share) * images[other], share * hot + (1 - share) * hot[other]


class Resize(_Transform):
    """Other sizes (height, width), as Pillow makes them: bilinear (with a wider filter when shrinking) or nearest.

    Unsigned bytes are rounded after each of the two passes, as Pillow rounds them.
    """

    def __init__(self, size: int | Sequence[int], interpolation: str = "bilinear"):
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if interpolation not in ("bilinear", "nearest"):
            raise ValueError(f"Resize: interpolation must be 'bilinear' or 'nearest', got {interpolation!r}")
        self.interpolation = interpolation

    def __call__(self, images: np.ndarray, rng: Any = None) -> np.ndarray:
        H, W = self.size
        if self.interpolation == "nearest":
            rows, columns = (((np.arange(k) + 0.5) * n / k).astype(int) for n, k in zip(images.shape[2:], (H, W)))
            return images[:, :, rows][:, :, :, columns]
        out = _rounded(images @ _triangles(images.shape[3], W).T, images.dtype)
        return _rounded(_triangles(images.shape[2], H) @ out, images.dtype)


def _triangles(n, out):
    """(out, n): the weights of Pillow's bilinear filter, a triangle as wide as the step."""
    step = max(1.0, n / out)
    centre = (np.arange(out)[:, None] + 0.5) * n / out
    distance = np.abs(np.arange(n) + 0.5 - centre) / step
    weights = np.clip(1 - distance, 0, None)
    return weights / weights.sum(1, keepdims=True)


def _rounded(values, dtype):
    return np.clip(np.floor(values + 0.5), 0, 255).astype(dtype) if dtype == np.uint8 else values.astype(dtype)


def augmentation(names: str, size: int, classes: int) -> Callable | None:
    """The training transform (images, labels, rng) -> (images, labels) for names such as "crop+flip"; None for "none".

    crop pads by an eighth of the size, cutout cuts a square of half of it.  Raises ValueError for an unknown name.
    """
    wanted = [] if names == "none" else names.split("+")
    for name in wanted:
        if name not in CHANGES:
            raise DataError(f"augment: {name!r} is none of {', '.join(CHANGES)} (joined by +) or none")
    made = {"crop": RandomCrop(size, max(1, size // 8)), "flip": RandomHorizontalFlip(), "cutout": Cutout(size // 2)}
    images_only = Compose([made[name] for name in wanted if name != "mixup"])
    mixup = Mixup(classes) if "mixup" in wanted else None
    if not wanted:
        return None

    def apply(images, labels, rng):
        images = images_only(images, rng)
        return (images, labels) if mixup is None else mixup(images, labels, rng)
    return apply
