"""The verb predict: images in, likeliest classes out."""
from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from ..autograd import no_grad
from ..nn.functional import softmax
from ..train.loop import as_input
from . import Result
from .training import Trained, reopen


def predict(args: Namespace) -> Result:
    """The likeliest classes of every image."""
    if not args.images and not args.sample:
        raise ValueError("predict: give image files, or --sample N for images of the test set")
    trained = reopen(args)
    names = trained.test_set.classes
    rows = []
    for name, image, label in _images(args, trained):
        chances = probabilities(trained.model, image)
        best = np.argsort(-chances, kind="stable")[:args.top]
        rows.append({"image": name, "label": None if label is None else names[label],
                     "top": [{"class": names[i], "probability": float(chances[i])} for i in best]})
    return Result("\n".join(map(_line, rows)), {"run": str(args.run), "predictions": rows})


def probabilities(model: Any, image: np.ndarray) -> np.ndarray:
    """The probability of each class for one image (C, H, W), normalised as the model wants it."""
    like = next(iter(model.parameters()))
    with no_grad():
        logits = model(as_input(image[None], like.dtype, like.device))     # (1, C, H, W) -> (1, classes)
        return softmax(logits, dim=1).numpy()[0]


def _line(row: dict[str, Any]) -> str:
    top = "  ".join(f"{t['class']} {t['probability']:.4f}" for t in row["top"])
    return f"{row['image']}: {top}" + ("" if row["label"] is None else f"  (is {row['label']})")


def _images(args: Namespace, trained: Trained) -> Iterator[tuple[str, np.ndarray, int | None]]:
    """(name, image as the model wants it, true class if known)."""
    data = trained.test_set
    for path in map(Path, args.images):
        images = _from_npy(path, data.image_shape) if path.suffix == ".npy" else [_picture(path, data.image_shape)]
        for i, image in enumerate(images):
            image = 1 - image if args.invert else image
            yield str(path) if len(images) == 1 else f"{path}[{i}]", data.normalised(image), None
    for i in range(min(args.sample or 0, len(data))):
        image, label = data[i]
        yield f"test image {i}", image, int(label)


def _from_npy(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The images (N, C, H, W) of a .npy file, 0..1."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise OSError(f"{path}: cannot be read as an array: {error}") from error
    array = array / np.float32(255) if array.dtype == np.uint8 else array.astype(np.float32)
    stack = array.reshape((1,) * (4 - array.ndim) + array.shape) if array.ndim < 4 else array
    if stack.shape[1:] != shape:
        raise ValueError(f"{path}: holds an array of shape {array.shape}; the model takes images of shape {shape}, "
                         f"or several: (N, {', '.join(map(str, shape))})")
    return stack


def _picture(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """An image file as (C, H, W), 0..1, scaled and turned grey as the model needs it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(f"{path}: reading image files needs Pillow: pip install 'tinycnn[data]' (.npy files can be "
                          "read without)") from None
    channels, height, width = shape
    try:
        with Image.open(path) as picture:
            scaled = picture.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError) as error:
        raise OSError(f"{path}: cannot be read as an image: {error}") from error
    pixels = np.asarray(scaled, np.float32).reshape(height, width, channels) / 255
    return pixels.transpose(2, 0, 1)
