"""The .safetensors format held against the official library: the same bytes, and nothing read that it refuses."""
import json
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinycnn.io import FileFormatError, load_safetensors, load_weights, save_safetensors
from tinycnn.io.safetensors import DTYPES, decode, encode

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).filter(lambda n: n != "__metadata__")
arrays = hnp.arrays(st.sampled_from(list(DTYPES.values())), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0,
                                                                              max_side=4))


@pytest.fixture
def official():
    return pytest.importorskip("safetensors", reason="what is compared with is safetensors")


def bits(a):
    return a.dtype, a.shape, a.tobytes()


def file_of(header, body=b""):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


# ---------------------------------------------------------------------------------------- writing

@given(st.dictionaries(names, arrays, max_size=5), st.none() | st.dictionaries(names, names, max_size=1))
@settings(max_examples=300, deadline=None)
def test_the_bytes_are_those_of_the_official_library(tensors, metadata):
    """With several entries of metadata too, but for their order, which in the official library is random."""
    numpy = pytest.importorskip("safetensors.numpy", reason="what is compared with is safetensors")
    if not tensors and metadata == {}:               # for which it writes {},"__metadata__":{} and cannot read it again
        assert decode(b"".join(encode(tensors, metadata))) == ({}, {})
        return
    assert b"".join(encode(tensors, metadata)) == numpy.save(tensors, metadata)


def test_all_dtypes_are_sorted_as_the_official_library_does():
    numpy = pytest.importorskip("safetensors.numpy", reason="what is compared with is safetensors")
    starts = (2, 10, "é", "\U00010000", "\uffff")     # the last two are in another order as UTF-16
    tensors = {f"{i} {kind}": np.ones(3, kind) for kind in reversed(DTYPES.values()) for i in starts}
    assert b"".join(encode(tensors)) == numpy.save(tensors)


# ---------------------------------------------------------------------------------------- reading

@given(st.dictionaries(names, arrays, max_size=5))
@settings(max_examples=60, deadline=None)
def test_mapped_and_read_are_the_same(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("st") / "x.safetensors"
    save_safetensors(tensors, path)
    for mmap in (True, False):
        found = load_safetensors(path, mmap=mmap)
        assert {n: bits(a) for n, a in found.items()} == {n: bits(a) for n, a in tensors.items()}
        assert all(a.flags.writeable and a.flags.aligned for a in found.values())


def test_mapped_arrays_can_be_written_and_the_file_stays(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors({"x": np.ones(1000)}, path)
    found = load_safetensors(path)
    found["x"][:] = 7
    assert (load_safetensors(path)["x"] == 1).all()
    save_safetensors({"x": np.zeros(5)}, path)       # replaces the file, does not write into it
    assert (found["x"] == 7).all() and load_safetensors(path)["x"].tolist() == [0] * 5


def test_what_does_not_start_at_a_multiple_of_its_size_is_copied(tmp_path):
    header = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
              "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]}}
    (tmp_path / "x").write_bytes(file_of(header, b"\7" + np.array([1.5, 2], "<f4").tobytes()))
    found = load_safetensors(tmp_path / "x")
    assert found["a"].tolist() == [7] and found["b"].tolist() == [1.5, 2] and found["b"].flags.aligned


@pytest.mark.parametrize("mmap", [True, False])
def test_every_bfloat16_is_exact(tmp_path, mmap):
    every = np.arange(2**16, dtype="<u2")
    (tmp_path / "x").write_bytes(file_of({"a": {"dtype": "BF16", "shape": [256, 256], "data_offsets": [0, 2**17]}},
                                         every.tobytes()))
    found = load_safetensors(tmp_path / "x", mmap=mmap)["a"]
    assert found.dtype == np.float32 and found.shape == (256, 256)
    assert np.array_equal(found.view(np.uint32).reshape(-1), every.astype(np.uint32) << 16)


def test_bfloat16_of_torch(tmp_path):
    torch = pytest.importorskip("torch", reason="the file is written by torch")
    written = pytest.importorskip("safetensors.torch", reason="the file is written by safetensors")
    x = torch.randn(3, 5).bfloat16()
    written.save_file({"x": x, "n": torch.tensor(3), "c": torch.complex(x.float(), x.float())}, tmp_path / "x")
    found = load_safetensors(tmp_path / "x")
    assert np.array_equal(found["x"], x.float().numpy()) and found["n"] == 3 and found["c"].dtype == np.complex64


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3"])
def test_floats_of_8_bits_and_less_are_refused_by_name(dtype):
    with pytest.raises(FileFormatError, match=dtype):
        decode(file_of({"a": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}}, b"1234"))


def test_a_large_file_opens_at_once(tmp_path):
    """100 MB in 320 arrays, as many as ResNet-50 has: mapped, not read.  Twenty times what it takes would pass."""
    path = tmp_path / "x.safetensors"
    save_safetensors({f"layer{i}.weight": np.zeros((512, 160), np.float32) for i in range(320)}, path)
    tracemalloc.start()
    start = time.thread_time()
    found = load_safetensors(path)
    seconds, peak = time.thread_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 320 and seconds < 0.25 and peak < 2 << 20
    path.unlink()


# ---------------------------------------------------------------------------------------- mutants, in both directions

def sample():
    """A small file with every dtype that is read, and metadata."""
    header = {"__metadata__": {"format": "pt", "é": "\t"}}
    at = 0
    for dtype, size in (("F32", 4), ("BF16", 2), ("C64", 8), ("I8", 1), ("BOOL", 1)):
        shape = [] if dtype == "I8" else [1, 2]
        count = 1 if dtype == "I8" else 2
        header["x." + dtype] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size * count]}
        at += size * count
    header["empty"] = {"dtype": "F64", "shape": [0, 3], "data_offsets": [at, at]}
    return header, bytes([1] * at)


TOKENS = [b"0", b"1", b"-1", b"2", b"1.0", b"1e0", b"true", b"null", b"[", b"]", b"{", b"}", b",", b":", b'"', b" ",
          b"\n", b"\0", b"\xff", b"\\u0000", b"\\ud800", b"18446744073709551616", b"9223372036854775807", b'"F32"',
          b'"F8_E4M3"', b'"dtype"', b'"shape"', b'"x.F32"', b'"__metadata__"', b"NaN", b"00"]


def mutant(random, header, body):
    """A file whose header was changed as text, with its length put right, or whose bytes were changed anywhere."""
    text = bytearray(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    whole = random.random() < 0.3
    raw = bytearray(len(text).to_bytes(8, "little") + text + body) if whole else text
    for _ in range(random.integers(1, 4)):
        at, other, n, kind = (int(v) for v in random.integers(0, 1 << 30, 4))
        at, other, n = at % len(raw), other % len(raw), n % 12
        if kind % 5 == 0:
            raw[at] ^= 1 << n % 8
        elif kind % 5 == 1:
            raw[at:at + n] = raw[other:other + n]
        elif kind % 5 == 2:
            del raw[at:at + 1 + n % 3]
        else:
            token = TOKENS[other % len(TOKENS)]
            raw[at:at + (len(token) if kind % 5 == 3 else 0)] = token
        if not raw:
            break
    return bytes(raw) if whole else len(raw).to_bytes(8, "little") + bytes(raw) + body


def compare(official, count, seed):
    """Counts of mutants by who accepts them: {(ours, theirs): number}."""
    random, header_body = np.random.default_rng(seed), sample()
    verdicts = {(a, b): 0 for a in (True, False) for b in (True, False)}
    for _ in range(count):
        raw = mutant(random, *header_body)
        start = time.thread_time()
        try:
            ours = decode(raw)[0]
        except FileFormatError:
            ours = None
        assert time.thread_time() - start < 0.5
        try:
            theirs = dict(official.deserialize(raw))
        except official.SafetensorError:
            theirs = None
        assert ours is None or theirs is not None, raw
        if ours is not None:
            assert ours.keys() == theirs.keys() and all(list(ours[n].shape) == theirs[n]["shape"] for n in ours)
        verdicts[ours is not None, theirs is not None] += 1
    assert verdicts[True, True] > count / 50         # otherwise the mutants would test little
    return verdicts


def test_the_sample_is_good(official):
    header, body = sample()
    assert decode(file_of(header, body))[0].keys() == dict(official.deserialize(file_of(header, body))).keys()


def test_what_the_official_library_refuses_is_refused(official):
    compare(official, 4000, 0)


@pytest.mark.slow
def test_what_the_official_library_refuses_is_refused_200_000(official):
    compare(official, 200_000, 1)


def test_flipped_bytes_of_a_mapped_file(tmp_path):
    """The same through a mapped file, which is another way through the reader."""
    random = np.random.default_rng(0)
    path = tmp_path / "x"
    for _ in range(300):
        raw = mutant(random, *sample())
        path.write_bytes(raw)
        try:
            expected = decode(raw)[0]
        except FileFormatError:
            for read in (load_safetensors, load_weights):
                with pytest.raises(FileFormatError, match="x: "):
                    read(path)
        else:
            found = load_safetensors(path)
            assert {n: bits(a) for n, a in found.items()} == {n: bits(a) for n, a in expected.items()}
