"""Changes of batches of images (N, C, H, W), random ones drawn from a generator that is passed in.

A transform is called with images and a generator and returns images; Mixup and what `augmentation` makes also take
and return the labels.  Given the same generator they do the same: nothing depends on threads or global state.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

CHANGES = ("crop", "flip", "cutout", "mixup")


class _Transform:
    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def _require(holds, transform, rule, got):
    if not holds:
        raise ValueError(f"{type(transform).__name__}: {rule}, got {got!r}")


def _is_count(value, least=0):
    return isinstance(value, (int, np.integer)) and value >= least


def _pair(transform, size):
    """(height, width) of a size, which may be one number for both."""
    pair = tuple(size) if isinstance(size, Sequence) else (size, size)
    _require(len(pair) == 2 and all(_is_count(n, 1) for n in pair), transform,
             "size must be a positive integer or two, (height, width)", size)
    return pair


def _check(transform, images, rng):
    """Refuse what a random transform cannot work on."""
    _require(np.ndim(images) == 4, transform, "expected a batch of images (N, C, H, W); image[None] is a batch of one",
             np.shape(images))
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{type(transform).__name__}: expected a generator after the images, such as "
                        f"np.random.default_rng(0), got {type(rng).__name__}")


class Compose(_Transform):
    """Several transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = list(transforms)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        for t in self.transforms:
            images = t(images, rng)
        return images


class ToFloat(_Transform):
    """Unsigned bytes 0..255 to float32 0..1.  Raises TypeError for anything but bytes."""

    def __call__(self, images: np.ndarray, rng: Any = None) -> np.ndarray:
        if images.dtype != np.uint8:
            raise TypeError(f"ToFloat: expected unsigned bytes (uint8), got {images.dtype}: it comes once, first")
        return images.astype(np.float32) / np.float32(255)


class Normalize(_Transform):
    """(image - mean) / std, per channel; of floats, which keep their dtype."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = tuple(mean), tuple(std)
        _require(len(self.mean) == len(self.std), self, "mean and std must be of one length", (mean, std))
        _require(all(s > 0 for s in self.std), self, "std must be positive", std)

    def __call__(self, images: np.ndarray, rng: Any = None) -> np.ndarray:
        if images.dtype.kind != "f":
            raise TypeError(f"Normalize: expected images of floats, got {images.dtype}: ToFloat makes them of bytes")
        _require(images.ndim >= 3 and images.shape[-3] == len(self.mean), self,
                 f"expected images with {len(self.mean)} channels, as many as mean has values", images.shape)
        mean, std = (np.asarray(v, images.dtype).reshape(-1, 1, 1) for v in (self.mean, self.std))       # (C, 1, 1)
        return (images - mean) / std


class RandomCrop(_Transform):
    """A part of some size, (height, width) or one number for both, at a random place of the image padded with zeros."""

    def __init__(self, size: int | Sequence[int], padding: int = 0):
        self.size, self.padding = _pair(self, size), padding
        _require(_is_count(padding), self, "padding must be an integer of at least 0", padding)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _check(self, images, rng)
        p, (h, w) = self.padding, self.size
        padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)))
        N, _, H, W = padded.shape
        _require(h <= H and w <= W, self, f"size must not be larger than the padded image, {H}x{W}", self.size)
        top, left = rng.integers(0, H - h + 1, N), rng.integers(0, W - w + 1, N)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), (2, 3))
        return windows[np.arange(N), :, top, left]                        # (N, C, h, w)


class RandomHorizontalFlip(_Transform):
    """Left and right exchanged with probability p."""

    def __init__(self, p: float = 0.5):
        self.p = p
        _require(0 <= p <= 1, self, "p must be a probability, 0..1", p)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _check(self, images, rng)
        flipped = rng.random(len(images)) < self.p
        return np.where(flipped[:, None, None, None], images[..., ::-1], images)


class Cutout(_Transform):
    """A square of zeros at a random place, partly outside perhaps.  DeVries & Taylor 2017."""

    def __init__(self, size: int):
        self.size = size
        _require(_is_count(size, 1), self, "size must be a positive integer", size)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _check(self, images, rng)
        N, _, H, W = images.shape
        y, x = rng.integers(0, H, (N, 1)), rng.integers(0, W, (N, 1))
        rows, columns = ((np.arange(n) >= c - self.size // 2) & (np.arange(n) < c + self.size - self.size // 2)
                         for n, c in ((H, y), (W, x)))
        hole = rows[:, None, :, None] & columns[:, None, None, :]         # (N, 1, H, W)
        return np.where(hole, images.dtype.type(0), images)


class Mixup(_Transform):
    """Every image mixed with another, and the labels likewise.  Zhang et al. 2018, section 2.

    (N, C, H, W) of floats, (N,) -> the images and (N, classes) probabilities; one share, from Beta(alpha, alpha), for
    all of them.
    """

    def __init__(self, classes: int, alpha: float = 0.2):
        self.classes, self.alpha = classes, alpha
        _require(_is_count(classes, 1), self, "classes must be a positive integer", classes)
        _require(alpha > 0, self, "alpha must be positive", alpha)

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple:
        _check(self, images, rng)
        if images.dtype.kind != "f":
            raise TypeError(f"Mixup: expected images of floats, got {images.dtype}: ToFloat makes them of bytes")
        share, other = images.dtype.type(rng.beta(self.alpha, self.alpha)), rng.permutation(len(images))
        hot = np.eye(self.classes, dtype=images.dtype)[labels]
        return share * images + (1 - share) * images[other], share * hot + (1 - share) * hot[other]


class Resize(_Transform):
    """Other sizes (height, width), as Pillow makes them: bilinear (with a wider filter when shrinking) or nearest.

    Unsigned bytes are rounded after each of the two passes, along the width first (Pillow may begin with the height,
    which can make a difference of 1).
    """

    def __init__(self, size: int | Sequence[int], interpolation: str = "bilinear"):
        self.size, self.interpolation = _pair(self, size), interpolation
        _require(interpolation in ("bilinear", "nearest"), self, "interpolation must be 'bilinear' or 'nearest'",
                 interpolation)

    def __call__(self, images: np.ndarray, rng: Any = None) -> np.ndarray:
        H, W = self.size
        _require(images.ndim == 4, self, "expected a batch of images (N, C, H, W); image[None] is a batch of one",
                 images.shape)
        if self.interpolation == "nearest":
            rows, columns = (_nearest(n, k) for n, k in zip(images.shape[2:], (H, W)))
            return images[:, :, rows][:, :, :, columns]
        out = _rounded(images @ _triangles(images.shape[3], W).T, images.dtype)
        return _rounded(_triangles(images.shape[2], H) @ out, images.dtype)


def _nearest(n, out):
    """(out,): the element of n in which the centre of each of the new ones lies; summed step by step, as Pillow does,
    which decides where a centre falls between two."""
    step = n / out
    return np.cumsum([step / 2] + [step] * (out - 1)).astype(int)


def _triangles(n, out):
    """(out, n): the weights of Pillow's bilinear filter, a triangle as wide as the step."""
    step = max(1.0, n / out)
    centre = (np.arange(out)[:, None] + 0.5) * n / out
    distance = np.abs(np.arange(n) + 0.5 - centre) / step
    weights = np.clip(1 - distance, 0, None)
    return weights / weights.sum(1, keepdims=True)


def _rounded(values, dtype):
    return np.clip(np.floor(values + 0.5), 0, 255).astype(dtype) if dtype == np.uint8 else values.astype(dtype)


def augmentation(names: str, size: Sequence[int], classes: int) -> Callable | None:
    """The training transform (images, labels, rng) -> (images, labels) for names such as "crop+flip"; None for "none".

    size is (height, width) of the images: crop pads by an eighth of the height, cutout cuts a square of half of it.
    Raises ValueError for an unknown name.
    """
    if names == "none":
        return None
    wanted = names.split("+")
    for name in wanted:
        if name not in CHANGES:
            raise ValueError(f"augment: {name!r} is none of {', '.join(CHANGES)} (joined by +); or give \"none\" alone")
    made = {"crop": lambda: RandomCrop(size, max(1, size[0] // 8)), "flip": RandomHorizontalFlip,
            "cutout": lambda: Cutout(max(1, size[0] // 2))}
    images_only = Compose([made[name]() for name in wanted if name != "mixup"])
    mixup = Mixup(classes) if "mixup" in wanted else None

    def apply(images, labels, rng):
        images = images_only(images, rng)
        return (images, labels) if mixup is None else mixup(images, labels, rng)
    return apply
