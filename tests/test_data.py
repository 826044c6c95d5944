"""Data sets, their strict readers, downloads, transforms and the loader."""
import gzip
import hashlib
import http.server
import io
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycnn.data import DataError, DataLoader, DownloadError, list_datasets, load_dataset, transforms
from tinycnn.data import datasets as known
from tinycnn.data.download import Remote, fetch
from tinycnn.data.files import cifar_records, read_idx, read_tar_members

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


# ---------------------------------------------------------------------------------------- strict readers

def idx(array):
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_round_trip_and_every_truncation(tmp_path, zipped):
    path, raw = tmp_path / "f", idx(IMAGES)
    raw = gzip.compress(raw) if zipped else raw
    path.write_bytes(raw)
    assert np.array_equal(read_idx(path, 3), IMAGES)
    for n in range(len(raw)):
        path.write_bytes(raw[:n])
        with pytest.raises(DataError, match=str(path)):
            read_idx(path, 3)
    path.write_bytes(gzip.compress(idx(IMAGES) + b"x") if zipped else raw + b"x")
    with pytest.raises(DataError, match="more bytes follow"):
        read_idx(path, 3)


@pytest.mark.parametrize("raw, words", [
    (b"\x00\x00\x0d\x03" + bytes(12), "begins with 00 00 0d 03"),
    (idx(np.zeros(20, np.uint8)), "is it the images file"),
    (b"\x00\x00\x08\x03" + b"\xff" * 12, "promises"), (b"GIF89a" + bytes(40), "not an IDX file"),
])
def test_wrong_headers(tmp_path, raw, words):
    (tmp_path / "f").write_bytes(raw)
    with pytest.raises(DataError, match=words):
        read_idx(tmp_path / "f", 3)


def test_a_gzip_bomb_is_refused_at_once(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as f:
        f.write(idx(IMAGES))
        for _ in range(64):
            f.write(bytes(1 << 20))
    with pytest.raises(DataError, match="more bytes follow"):
        read_idx(path, 3)


@given(st.binary(max_size=30), st.integers(0, 10**6), st.booleans())
@settings(max_examples=150, deadline=None)
def test_mutants_raise_only_data_errors(tmp_path_factory, noise, at, zipped):
    raw = gzip.compress(idx(IMAGES)) if zipped else idx(IMAGES)
    at %= len(raw)
    path = tmp_path_factory.mktemp("idx") / "f"
    path.write_bytes(raw[:at] + noise + raw[at + len(noise):])
    try:
        read_idx(path, 3)
    except DataError:
        pass


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


def test_cifar_files_and_archives(tmp_path):
    rng = np.random.default_rng(0)
    record = bytes([7]) + rng.integers(0, 256, 3072, np.uint8).tobytes()
    images, labels = cifar_records(record * 3, False, "x")
    assert images.shape == (3, 3, 32, 32) and labels.tolist() == [7, 7, 7]
    with pytest.raises(DataError, match="cut short"):
        cifar_records(record[:-1], False, "x")
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        (tmp_path / name).write_bytes(record)
    train, test = load_dataset("cifar10", tmp_path)
    assert (len(train), len(test)) == (5, 1) and train.image_shape == (3, 32, 32)
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) + record[1:])
    with pytest.raises(DataError, match="label 10"):
        load_dataset("cifar10", tmp_path)


def test_archives_are_read_into_memory_by_exact_name(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, body in (("d/good.bin", b"1234"), ("../escaped", b"5678"), ("d/long.bin", b"123456")):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
        link = tarfile.TarInfo("d/link.bin")
        link.type, link.linkname, link.size = tarfile.SYMTYPE, "/etc/passwd", 4
        archive.addfile(link)
    assert read_tar_members(path, ["d/good.bin"], 4) == {"d/good.bin": b"1234"}
    for name in ("d/missing.bin", "d/long.bin", "d/link.bin"):
        with pytest.raises(DataError, match=name.partition("/")[2]):
            read_tar_members(path, [name], 4)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="not a whole"):
        read_tar_members(path, ["d/good.bin"], 4)
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar.gz"}


# ---------------------------------------------------------------------------------------- downloads

BODY = bytes(range(256)) * 400


class Server(http.server.BaseHTTPRequestHandler):
    requests, cut, ranges = 0, None, True

    def do_GET(self):
        Server.requests += 1
        if self.path != "/f":
            return self.send_error(404)
        start = 0
        if self.headers.get("Range") and Server.ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(BODY):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start:Server.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def url():
    Server.requests, Server.cut, Server.ranges = 0, None, True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/f"
    server.shutdown()
    server.server_close()


MD5 = hashlib.md5(BODY).hexdigest()


def test_download_once(tmp_path, url):
    path = tmp_path / "sub" / "f"
    assert fetch(Remote(url, MD5), path).read_bytes() == BODY
    fetch(Remote(url, MD5), path)
    assert Server.requests == 1


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("cut", [0, 1, 5000, len(BODY) - 1])
def test_a_cut_download_is_resumed(tmp_path, url, cut, ranges):
    Server.cut, Server.ranges = cut, ranges
    with pytest.raises(DownloadError, match="could not be fetched"):
        fetch(Remote(url, MD5), tmp_path / "f")
    assert not (tmp_path / "f").exists()
    Server.cut = None
    assert fetch(Remote(url, MD5), tmp_path / "f").read_bytes() == BODY


def test_wrong_files_are_not_kept(tmp_path, url):
    with pytest.raises(DownloadError, match=f"md5 {MD5}, expected 0123"):
        fetch(Remote(url, "0123"), tmp_path / "f")
    with pytest.raises(DownloadError, match="(?s)404.*--data-dir"):
        fetch(Remote(url + "x", MD5), tmp_path / "g")
    assert not (tmp_path / "f").exists() and not (tmp_path / "f.part").exists()


def test_without_network_the_message_says_what_to_do(tmp_path):
    with pytest.raises(DownloadError) as caught:
        fetch(Remote("http://127.0.0.1:9/f", MD5), tmp_path / "f")
    assert all(w in str(caught.value) for w in ("http://127.0.0.1:9/f", MD5, str(tmp_path / "f"), "--data-dir"))


def test_many_processes_fetch_once(tmp_path, url):
    code = f"""
from pathlib import Path
from tinycnn.data.download import Remote, fetch
fetch(Remote({url!r}, {MD5!r}), Path({str(tmp_path / 'f')!r}))
"""
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
    assert [p.wait() for p in started] == [0] * 4
    assert (tmp_path / "f").read_bytes() == BODY and Server.requests == 1


# ---------------------------------------------------------------------------------------- transforms

def images(n=64, size=8):
    return np.random.default_rng(1).random((n, 3, size, size), np.float32)


@pytest.mark.parametrize("change", [
    transforms.RandomCrop(8, 2), transforms.RandomHorizontalFlip(), transforms.Cutout(3),
    transforms.Compose([transforms.RandomCrop(8, 1), transforms.RandomHorizontalFlip()]),
], ids=repr)
def test_changes_depend_on_the_generator_alone(change):
    x = images()
    a, b, c = (change(x, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c) and a.shape == x.shape and a.dtype == x.dtype


def test_what_changes_do():
    rng, x = np.random.default_rng(0), images(1000)
    flipped = transforms.RandomHorizontalFlip(0.3)(x, rng)
    share = np.mean([np.array_equal(f, i[..., ::-1]) for f, i in zip(flipped, x)])
    assert 0.25 < share < 0.35
    assert np.array_equal(transforms.RandomCrop(8)(x, rng), x)
    shifted = transforms.RandomCrop(8, 1)(x[:1], np.random.default_rng(3))
    padded = np.pad(x[:1], ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert any(np.array_equal(shifted, padded[:, :, i:i + 8, j:j + 8]) for i in range(3) for j in range(3))
    holes = (transforms.Cutout(4)(np.ones_like(x), rng) == 0).sum((1, 2, 3)) / 3
    assert holes.max() == 16 and holes.min() >= 4
    mixed, labels = transforms.Mixup(10, 1.0)(x, np.arange(1000) % 10, rng)
    assert labels.shape == (1000, 10) and np.allclose(labels.sum(1), 1) and mixed.dtype == np.float32
    normal = transforms.Normalize((0.5,) * 3, (0.25,) * 3)(transforms.ToFloat()((x * 255).astype(np.uint8)))
    assert normal.dtype == np.float32 and abs(normal.mean()) < 0.05


@pytest.mark.parametrize("size", [(5, 9), (16, 16), (3, 4), (8, 8)])
def test_resize_is_pillows(size):
    image = pytest.importorskip("PIL.Image", reason="the comparison needs Pillow")
    x = (images(1) * 255).astype(np.uint8)
    ours = transforms.Resize(size)(x)[0, 0]
    theirs = np.asarray(image.fromarray(x[0, 0]).resize(size[::-1], image.Resampling.BILINEAR))
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    nearest = np.asarray(image.fromarray(x[0, 0]).resize(size[::-1], image.Resampling.NEAREST))
    assert np.array_equal(transforms.Resize(size, "nearest")(x)[0, 0], nearest)


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
