"""The strict readers of IDX files, CIFAR's binary files and its archive."""
import gzip
import io
import re
import tarfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycnn.data import DataError, files
from tinycnn.data.files import check_labels, cifar_records, read_cifar, read_idx, read_tar_members

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def memory():
    """A function: the most memory in use since the test began, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


# ---------------------------------------------------------------------------------------- IDX

@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("array", [IMAGES, np.arange(10, dtype=np.uint8)], ids=["images", "labels"])
def test_idx_whole_cut_and_continued(tmp_path, array, zipped):
    path, pack = tmp_path / "f", gzip.compress if zipped else bytes
    whole = pack(idx(array))
    path.write_bytes(whole)
    read = read_idx(path, array.ndim)
    assert read.dtype == np.uint8 and np.array_equal(read, array)
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(DataError, match=re.escape(str(path))):
            read_idx(path, array.ndim)
    path.write_bytes(pack(idx(array) + b"\0"))
    with pytest.raises(DataError, match="more bytes follow"):
        read_idx(path, array.ndim)
    if zipped:
        path.write_bytes(whole + b"not gzip")
        with pytest.raises(DataError, match="at its end"):
            read_idx(path, array.ndim)


@pytest.mark.parametrize("raw, words", [
    (b"\x00\x00\x0d\x03" + bytes(12), "begins with 00 00 0d 03, expected 00 00 08 03"),        # floats
    (b"\x01\x00\x08\x03" + bytes(12), "begins with 01 00 08 03"),
    (idx(np.zeros(20, np.uint8)), "is it the images file"),
    (b"\x00\x00\x08\x03" + b"\xff" * 12, "promises .* more than"),
    (b"GIF89a" + bytes(40), "not an IDX file"),
    (b"", "has 0 of 16 bytes"),
    (idx(IMAGES)[:-1], r"array of \[2, 3, 4\] has 23 of 24 bytes"),
])
def test_wrong_headers(tmp_path, raw, words):
    (tmp_path / "f").write_bytes(raw)
    with pytest.raises(DataError, match=words):
        read_idx(tmp_path / "f", 3)


def test_a_flipped_bit_of_a_gzip_file_is_seen(tmp_path):
    whole = bytearray(gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (4, 9, 9), np.uint8))))
    whole[len(whole) // 2] ^= 1
    (tmp_path / "f").write_bytes(whole)
    with pytest.raises(DataError, match="damaged"):
        read_idx(tmp_path / "f", 3)


@pytest.mark.parametrize("head", [idx(IMAGES), b"\x00\x00\x08\x03" + b"\x7f" * 12], ids=["honest", "lying"])
def test_a_gzip_bomb_is_refused_without_unpacking_it(tmp_path, memory, head):
    with gzip.open(tmp_path / "bomb.gz", "wb", compresslevel=1) as f:
        f.write(head)
        for _ in range(64):
            f.write(bytes(1 << 20))
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match="more bytes follow|promises"):
        read_idx(tmp_path / "bomb.gz", 3)
    assert memory() < 1 << 20


@given(st.binary(min_size=1, max_size=30), st.integers(0, 10**6), st.booleans(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_mutants_raise_only_data_errors(tmp_path_factory, noise, at, zipped, inserted):
    raw = gzip.compress(idx(IMAGES)) if zipped else idx(IMAGES)
    at %= len(raw)
    path = tmp_path_factory.mktemp("idx", numbered=True) / "f"
    path.write_bytes(raw[:at] + noise + raw[at + len(noise) * (not inserted):])
    try:
        assert read_idx(path, 3).ndim == 3           # pixels may change, and gzip's name and time
    except DataError as error:
        assert str(path) in str(error)


def test_labels_belong_to_images_and_classes():
    labels = check_labels("f", np.array([0, 9], np.uint8), 2, 10)
    assert labels.dtype == np.int64 and labels.tolist() == [0, 9]
    with pytest.raises(DataError, match="f: label 10 of image 1 is out of range: there are 10 classes"):
        check_labels("f", np.array([0, 10], np.uint8), 2, 10)
    with pytest.raises(DataError, match="f: 1 labels for 2 images"):
        check_labels("f", np.array([0], np.uint8), 2, 10)


# ---------------------------------------------------------------------------------------- CIFAR

def record(*labels, value=0):
    return bytes(labels) + bytes([value]) * 1024 + bytes([value + 1]) * 1024 + bytes([value + 2]) * 1024


@pytest.mark.parametrize("labels", [(7,), (3, 99)], ids=["cifar10", "cifar100"])
def test_cifar_records(tmp_path, labels):
    coarse, path = len(labels) == 2, tmp_path / "f.bin"
    raw = record(*labels, value=10) + record(*labels, value=20)
    for images, found in (cifar_records(raw, coarse, "f"), (path.write_bytes(raw), read_cifar(path, coarse))[1]):
        assert images.shape == (2, 3, 32, 32) and images.dtype == np.uint8
        assert (images == np.array([[10, 11, 12], [20, 21, 22]])[:, :, None, None]).all()
        assert found.dtype == np.int64 and found.tolist() == [labels[-1]] * 2
    for wrong in (b"", raw[:-1], raw + b"\0", raw[:len(raw) // 3]):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=f"{re.escape(str(path))}: {len(wrong):,} bytes are no whole number"):
            read_cifar(path, coarse)


def archive(path, *members):
    """A .tar.gz of (name, bytes) and ready-made headers."""
    with tarfile.open(path, "w:gz") as out:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                out.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                out.addfile(info, io.BytesIO(member[1]))
    return path


def link(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def test_archives_are_read_into_memory_by_exact_name(tmp_path):
    noise = np.random.default_rng(0).bytes(1500)
    path = archive(tmp_path / "a.tar.gz", ("d/good.bin", noise), ("../escaped", b"5678"), ("/tmp/escaped", b"9"),
                   ("d/other.bin", b"78"), link("d/link.bin", tarfile.SYMTYPE), link("d/hard.bin", tarfile.LNKTYPE),
                   link("d/pipe.bin", tarfile.FIFOTYPE))
    assert read_tar_members(path, {"d/good.bin": 1500, "d/other.bin": 2}) == {"d/good.bin": noise, "d/other.bin": b"78"}
    with pytest.raises(DataError, match="a.tar.gz: the archive lacks d/missing.bin, e.bin"):
        read_tar_members(path, {"d/missing.bin": 1, "d/good.bin": 1500, "e.bin": 1})
    for name, size in (("d/good.bin", 1499), ("d/good.bin", 1501), ("d/link.bin", 0), ("d/hard.bin", 0),
                       ("d/pipe.bin", 0)):
        with pytest.raises(DataError, match=f"a.tar.gz: {name} is no file of {size:,} bytes"):
            read_tar_members(path, {name: size})
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar.gz"} and not (tmp_path.parent / "escaped").exists()


def test_cut_and_damaged_archives_are_refused(tmp_path):
    noise = np.random.default_rng(0).bytes(1500)
    path = archive(tmp_path / "a.tar.gz", ("d/good.bin", noise))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[800] ^= 1
    for raw in (*(whole[:n] for n in range(0, len(whole), 13)), whole[:-1], whole + b"x", damaged, noise):
        path.write_bytes(raw)
        with pytest.raises(DataError, match="a.tar.gz"):
            read_tar_members(path, {"d/good.bin": 1500})


@pytest.mark.parametrize("where", ["a member before it", "a long name", "after the end"])
def test_an_archive_does_not_unpack_without_end(tmp_path, monkeypatch, memory, where):
    monkeypatch.setattr(files, "MAX_BYTES", 1 << 20)
    zeros = bytes(32 << 20)
    path = tmp_path / "a.tar.gz"
    if where == "a long name":                       # a header that is read into memory whole
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, len(zeros)
        with gzip.open(path, "wb", compresslevel=1) as f:
            f.write(info.tobuf() + zeros)
    elif where == "after the end":
        archive(path, ("good", b"1"))
        path.write_bytes(path.read_bytes() + gzip.compress(zeros, 1))
    else:
        archive(path, ("other", zeros), ("good", b"1"))
    del zeros
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match="a.tar.gz: unpacks to more than 1,048,576 bytes"):
        read_tar_members(path, {"good": 1})
    assert memory() < 16 << 20
