"""The data sets by name: where their files are, and what is known of them.

A data set is looked for in the folder given (data_dir), or in one of its usual name there (mnist, MNIST/raw,
cifar-10-batches-bin, ...); without data_dir, in those of the cache (TINYCNN_DATA, or ~/.cache/tinycnn), where it is
downloaded to if it is missing.  The digits come with the package.
"""
from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import transforms
from .download import Remote, fetch
from .errors import DataError
from .files import check_labels, cifar_records, read_cifar, read_idx, read_tar_members, record_size

DIGITS = tuple("0123456789")
CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100 = tuple("""apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man
    maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail
    snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout
    tulip turtle wardrobe whale willow_tree wolf woman worm""".split())
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"     # served without https; md5 is checked
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
IDX = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
       "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}


class Dataset:
    """Images with labels, in memory.

    images       (N, C, H, W) uint8
    labels       (N,) int64
    classes      the name of each class
    scale        the value of white: images are divided by it
    mean, std    per channel, of the images divided by scale: what a model sees is (image/scale - mean) / std
    transform    what is done to a batch of normalised images, given a generator; None for nothing
    size         (height, width) to which images are resized when they are asked for; None: they stay as they are

    len() and [i] are a sequence's; `batch` takes many images at once.
    """

    def __init__(self, name: str, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], scale: float,
                 mean: Sequence[float], std: Sequence[float], transform: Callable | None = None,
                 size: Sequence[int] | None = None):
        self.name, self.images, self.labels, self.classes = name, images, labels, tuple(classes)
        self.scale, self.transform = scale, transform
        self.resize = None if size is None or tuple(size) == images.shape[2:] else transforms.Resize(size)
        self.mean, self.std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (mean, std))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return (self.images.shape[1], *(self.resize.size if self.resize else self.images.shape[2:]))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        """The normalised image i (C, H, W) and its class."""
        return self._seen(np.array([i]))[0], int(self.labels[i])

    def _seen(self, indices):
        """The images (n, C, H, W) as a model sees them, but for the transform."""
        images = self.images[indices]
        if self.resize:
            images = self.resize(images)
        return self.normalised(images / np.float32(self.scale))

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """Images of 0..1, (C, H, W) or (N, C, H, W), as a model sees them."""
        return ((np.asarray(images, np.float32) - self.mean) / self.std).astype(np.float32)

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Normalised and transformed images (n, C, H, W), and labels (n,) or, mixed, (n, classes)."""
        images, labels = self._seen(indices), self.labels[indices]
        return (images, labels) if self.transform is None else self.transform(images, labels, rng)

    def __repr__(self) -> str:
        return f"Dataset({self.name}: {len(self):,} images of {'x'.join(map(str, self.image_shape))}, " \
               f"{len(self.classes)} classes)"


class Source(NamedTuple):
    """A data set by name: how to read it, and a line about it."""
    read: Callable[[Path | None], dict[str, tuple[np.ndarray, np.ndarray]]]
    classes: tuple[str, ...]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    about: str


def channels(name: str) -> int:
    """1 for grey images, 3 for colours; 0 for an unknown data set."""
    return len(SOURCES[name].mean) if name in SOURCES else 0


def load_dataset(name: str, data_dir: str | Path | None = None, augment: str = "none", image_size: int = 0,
                 mean: Sequence[float] = (), std: Sequence[float] = ()) -> tuple[Dataset, Dataset]:
    """The training and the test set of a data set.

    data_dir     the folder with its files, or the folder that holds that one; by default the cache, filled by a
                 download if need be.  Not for digits and synthetic, which need no files
    augment      random changes of training images: "none", or some of crop, flip, cutout, mixup joined by +
    image_size   resize images to so many pixels in height and width, 0: leave them as they are
    mean, std    per channel or for all of them, to normalise by instead of the data set's own

    Raises ValueError for an unknown name or change, or a folder where none is needed, FileNotFoundError for a folder
    without the files, DataError for files that are not what they should be, DownloadError without network.
    """
    if name not in SOURCES:
        close = get_close_matches(name, SOURCES, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(SOURCES)}"
        raise ValueError(f"no data set is called {name!r}: {hint}")
    source = SOURCES[name]
    if data_dir is not None and source.read in (_digits, _synthetic):
        raise ValueError(f"{name} needs no files: leave data_dir (--data-dir) out, or choose another data set")
    if data_dir is not None and not Path(data_dir).is_dir():
        raise FileNotFoundError(f"the data folder {data_dir} does not exist or is no folder: give the folder that "
                                f"holds the files of {name}")
    parts = source.read(None if data_dir is None else Path(data_dir))
    size = (image_size, image_size) if image_size else parts["train"][0].shape[2:]
    change = transforms.augmentation(augment, size, len(source.classes))
    known = (source.classes, source.scale, *_normalisation(name, source, mean, std))
    return Dataset(name, *parts["train"], *known, change, size), Dataset(name, *parts["test"], *known, None, size)


def _normalisation(name, source, mean, std):
    """(mean, std) as asked for, or the data set's own."""
    channels = len(source.mean)
    out = tuple(tuple(given) * (channels if len(given) == 1 else 1) or own
                for given, own in ((mean, source.mean), (std, source.std)))
    if len(out[0]) != channels or len(out[1]) != channels or min(out[1]) <= 0:
        raise ValueError(f"{name}: mean={out[0]} and std={out[1]} must have 1 or {channels} numbers, one for each "
                         "channel, std above 0")
    return out


def list_datasets() -> dict[str, str]:
    """The names of the data sets, and a line about each."""
    return {name: s.about for name, s in SOURCES.items()}


def cache_dir() -> Path:
    """Where downloads go: TINYCNN_DATA, or ~/.cache/tinycnn."""
    return Path(os.environ.get("TINYCNN_DATA") or Path.home() / ".cache" / "tinycnn")


# ---------------------------------------------------------------------------------------- readers

def _digits(folder):
    """The embedded digits: a fifth of them, drawn with a fixed seed, is the test set."""
    with gzip.open(Path(__file__).with_name("digits.csv.gz"), "rt") as f:
        table = np.loadtxt(f, np.uint8, delimiter=",")
    images, labels = table[:, :64].reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64)
    order = np.random.default_rng(1998).permutation(len(labels))
    test, train = order[:len(order) // 5], order[len(order) // 5:]
    return {"train": (images[train], labels[train]), "test": (images[test], labels[test])}


def _idx(name, folders, url, md5s):
    """A reader of four IDX files, gzipped or not."""
    remotes = {f: Remote(f"{url}{f}.gz", md5) for f, md5 in zip((f for pair in IDX.values() for f in pair), md5s)}

    def read(folder):
        out = {}
        for part, files in IDX.items():
            images, labels = (_find(name, folder, folders, f, remotes[f]) for f in files)
            pixels = read_idx(images, 3)
            if not pixels.size:
                raise DataError(f"{images}: holds no images: its header says {pixels.shape}")
            out[part] = (pixels[:, None], check_labels(labels, read_idx(labels, 1), len(pixels), 10))
        sizes = {part: f"{pixels.shape[2]}x{pixels.shape[3]}" for part, (pixels, _) in out.items()}
        if sizes["train"] != sizes["test"]:
            raise DataError(f"{images}: its images are {sizes['test']}, those to train with {sizes['train']}: the "
                            "files do not belong together")
        return out
    return read


def _find(name, folder, folders, file, remote):
    """The path of an IDX file, under any of its usual names; fetched if there is no folder to look in."""
    usual = [f"{variant}{end}" for variant in (file, file.replace("-idx", ".idx")) for end in (".gz", "")]
    for place in _places(folder, folders):
        for candidate in usual:
            if (place / candidate).is_file():
                return place / candidate
    if folder:
        raise FileNotFoundError(f"{folder} holds no {file}.gz (nor {file}), neither itself nor in its "
                                f"{' or '.join(folders)}: data_dir (--data-dir) must name the folder with the four "
                                f"files of {name}: {', '.join(f for pair in IDX.values() for f in pair)}, each with or "
                                "without .gz")
    return fetch(remote, cache_dir() / name / f"{file}.gz")


def _places(folder, folders):
    """Where a data set may be: the folder given or one in it, by its usual names; without one, those of the cache."""
    return [folder, *(folder / f for f in folders)] if folder else [cache_dir() / f for f in folders]


def _cifar(name, classes, archive, md5, inner, members):
    """A reader of CIFAR's binary files, unpacked or in the archive; members: part -> file -> how many images."""
    coarse = classes == 100
    counts = {f: n for files in members.values() for f, n in files.items()}

    def read(folder):
        places = _places(folder, (name, inner, f"{name}/{inner}"))
        place = next((p for p in places if all((p / f).is_file() for f in counts)), None)
        if place:
            pieces = {f: read_cifar(place / f, coarse) for f in counts}
        else:
            path = _archive(name, folder, places, archive, md5, counts)
            raw = read_tar_members(path, {f"{inner}/{f}": n * record_size(coarse) for f, n in counts.items()})
            pieces = {f: cifar_records(raw[f"{inner}/{f}"], coarse, f"{path}: {f}") for f in counts}
        for f, (images, labels) in pieces.items():
            check_labels(place / f if place else f"{path}: {f}", labels, len(images), classes)
        return {part: tuple(np.concatenate(arrays) for arrays in zip(*(pieces[f] for f in files)))
                for part, files in members.items()}
    return read


def _archive(name, folder, places, archive, md5, files):
    """The path of CIFAR's archive; fetched if there is no folder to look in."""
    for place in places:
        if (place / archive).is_file():
            return place / archive
    if folder:
        raise FileNotFoundError(f"{folder} holds neither {archive} nor all files of {name}'s binary version "
                                f"({', '.join(files)}), neither itself nor in {name}: data_dir (--data-dir) must name "
                                "the folder with one or the other; the \"python version\" is pickled and not read")
    return fetch(Remote(CIFAR_URL + archive, md5), cache_dir() / name / archive)


def _synthetic(folder):
    """Bars of ten widths and directions in noise: for benchmarks and tests; nothing is to be learned from a result."""
    rng = np.random.default_rng(0)

    def part(n):
        labels = np.arange(n) % 10
        images = rng.integers(0, 120, (n, 1, 28, 28), dtype=np.uint8)
        for i, c in enumerate(labels):
            at = int(rng.integers(4, 18))
            bar = slice(at, at + 1 + c // 2)
            images[i, 0][(bar, slice(None)) if c % 2 else (slice(None), bar)] += 120
        return images, labels.astype(np.int64)
    return {"train": part(2000), "test": part(500)}


SOURCES: dict[str, Source] = {
    "digits": Source(_digits, DIGITS, 16.0, (0.3053,), (0.3761,),
                     "1,438 + 359 handwritten digits, 8x8; comes with the package (UCI)"),
    "mnist": Source(_idx("mnist", ("mnist", "mnist/raw", "MNIST/raw"), MNIST_URL,
                         ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
                          "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c")),
                    DIGITS, 255.0, (0.1307,), (0.3081,),
                    "60,000 + 10,000 handwritten digits, 28x28 (LeCun et al. 1998)"),
    "fashion_mnist": Source(_idx("fashion_mnist", ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw"), FASHION_URL,
                                 ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                                  "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310")),
                            CLOTHES, 255.0, (0.2860,), (0.3530,),
                            "60,000 + 10,000 pieces of clothing, 28x28 (Xiao et al. 2017)"),
    "cifar10": Source(_cifar("cifar10", 10, "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530",
                             "cifar-10-batches-bin", {"train": {f"data_batch_{k}.bin": 10_000 for k in range(1, 6)},
                                                      "test": {"test_batch.bin": 10_000}}),
                      CIFAR10, 255.0, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616),
                      "50,000 + 10,000 photographs, 3x32x32, 10 classes (Krizhevsky 2009)"),
    "cifar100": Source(_cifar("cifar100", 100, "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8",
                              "cifar-100-binary", {"train": {"train.bin": 50_000}, "test": {"test.bin": 10_000}}),
                       CIFAR100, 255.0, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762),
                       "50,000 + 10,000 photographs, 3x32x32, 100 classes (Krizhevsky 2009)"),
    "synthetic": Source(_synthetic, DIGITS, 255.0, (0.3,), (0.25,),
                        "2,000 + 500 drawn bars, 28x28: made up, for tests and benchmarks only"),
}

