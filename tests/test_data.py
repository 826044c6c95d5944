"""Data sets by name, and the loader."""
import gzip
import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest

from tinycnn.data import DataError, DataLoader, list_datasets, load_dataset
from tinycnn.data import datasets as known

ROOT = Path(__file__).parents[1]


# ---------------------------------------------------------------------------------------- the data sets

def test_digits_come_with_the_package():
    train, test = load_dataset("digits")
    assert (len(train), len(test)) == (1438, 359) and train.image_shape == (1, 8, 8) and len(train.classes) == 10
    both = {d.tobytes() for d in train.images} & {d.tobytes() for d in test.images}
    assert len(both) <= 2                            # a few drawings are alike; the split itself is disjoint
    image, label = train[0]
    assert image.dtype == np.float32 and isinstance(label, int)
    assert np.array_equal(load_dataset("digits")[0].images, train.images)
    text = (ROOT / "tinycnn" / "data" / "digits.txt").read_text()
    assert hashlib.sha256((ROOT / "tinycnn" / "data" / "digits.csv.gz").read_bytes()).hexdigest() in text
    x = train.normalised(train.images / np.float32(train.scale))
    assert abs(x.mean()) < 0.01 and abs(x.std() - 1) < 0.01


def test_mnist(real_images):
    train, test = load_dataset("mnist", real_images("mnist"))
    assert (len(train), len(test)) == (60_000, 10_000)
    assert hashlib.md5(test.images.tobytes()).hexdigest() == hashlib.md5(
        gzip.decompress((real_images("mnist") / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]).hexdigest()


def test_part_of_fashion_mnist(real_images):
    train, test = load_dataset("fashion_mnist", real_images("fashion-mnist-part"))
    assert (len(train), len(test)) == (3615, 4443)


def test_unknown_names_and_folders(tmp_path):
    with pytest.raises(ValueError, match="'minst': did you mean mnist"):
        load_dataset("minst")
    with pytest.raises(ValueError, match="'sheer' is none of crop, flip, cutout, mixup"):
        load_dataset("digits", augment="crop+sheer")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_dataset("mnist", tmp_path / "nowhere")
    for name in ("mnist", "cifar10"):
        with pytest.raises(FileNotFoundError, match=str(tmp_path)):
            load_dataset(name, tmp_path)
    assert "digits" in list_datasets()


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_mnist(folder, images, labels):
    for part in known.IDX.values():
        (folder / part[0]).write_bytes(idx(images))
        (folder / f"{part[1]}.gz").write_bytes(gzip.compress(idx(labels)))


def test_labels_are_checked(tmp_path):
    write_mnist(tmp_path, IMAGES, np.array([3, 9], np.uint8))
    assert load_dataset("mnist", tmp_path)[0].labels.tolist() == [3, 9]
    write_mnist(tmp_path, IMAGES, np.array([3, 10], np.uint8))
    with pytest.raises(DataError, match="label 10 of image 1 is out of range"):
        load_dataset("mnist", tmp_path)
    write_mnist(tmp_path, IMAGES, np.array([3], np.uint8))
    with pytest.raises(DataError, match="1 labels for 2 images"):
        load_dataset("mnist", tmp_path)


def test_cifar_files(tmp_path):
    rng = np.random.default_rng(0)
    record = bytes([7]) + rng.integers(0, 256, 3072, np.uint8).tobytes()
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        (tmp_path / name).write_bytes(record)
    train, test = load_dataset("cifar10", tmp_path)
    assert (len(train), len(test)) == (5, 1) and train.image_shape == (3, 32, 32)
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) + record[1:])
    with pytest.raises(DataError, match="label 10"):
        load_dataset("cifar10", tmp_path)


# ---------------------------------------------------------------------------------------- the loader

def batches(loader):
    return [(x.copy(), y.copy()) for x, y in loader]


def equal(a, b):
    return len(a) == len(b) and all(np.array_equal(x, u) and np.array_equal(y, v) for (x, y), (u, v) in zip(a, b))


def test_batches_do_not_depend_on_threads():
    train, _ = load_dataset("digits", augment="crop+flip+cutout+mixup")
    runs = []
    for workers in (0, 1, 3):
        loader = DataLoader(train, 100, shuffle=True, num_workers=workers, seed=5)
        runs.append(batches(loader) + batches(loader))
    assert equal(runs[0], runs[1]) and equal(runs[0], runs[2])
    assert not np.array_equal(runs[0][0][0], runs[0][len(runs[0]) // 2][0])          # another order each epoch


@pytest.mark.parametrize("seen", [0, 1, 2, 3])
def test_the_position_can_be_restored(seen):
    data = [(np.float32(i), i) for i in range(10)]
    whole = DataLoader(data, 4, shuffle=True, seed=1)
    expected = batches(whole) + batches(whole)
    loader = DataLoader(data, 4, shuffle=True, seed=1)
    for _, _ in zip(range(seen), loader):
        state = loader.state_dict()
    if not seen:
        state = loader.state_dict()
    other = DataLoader(data, 4, shuffle=True)
    other.load_state_dict(state)
    got = batches(other) + batches(other)
    first = expected[seen:] if seen < 3 else expected[3:]
    assert equal(got[:len(first)], first)


def test_drop_last_lengths_and_bad_arguments():
    data = [(np.zeros(2), i) for i in range(10)]
    assert len(DataLoader(data, 4)) == 3 and len(DataLoader(data, 4, drop_last=True)) == 2
    assert [len(y) for _, y in DataLoader(data, 4, drop_last=True)] == [4, 4]
    for wrong in (dict(batch_size=0), dict(batch_size=2.5), dict(num_workers=-1), dict(seed=-1)):
        with pytest.raises(ValueError, match="DataLoader"):
            DataLoader(data, **wrong)
    with pytest.raises(ValueError, match="empty"):
        DataLoader([])


def test_errors_in_threads_arrive_and_threads_end():
    class Broken(list):
        def __getitem__(self, i):
            if i == 5:
                raise OSError("a bad sector")
            return np.zeros(1), i
    with pytest.raises(OSError, match="a bad sector"):
        batches(DataLoader(Broken(range(10)), 2))
    for _ in DataLoader([(np.zeros(1), i) for i in range(100)], 1):
        break
    assert not [t for t in threading.enumerate() if t.name.startswith("tinycnn-loader")]
