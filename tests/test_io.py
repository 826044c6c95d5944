"""Checkpoints and .safetensors files: round trips, damage, and what must be refused."""
import json
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinycnn as tc
from tinycnn.io import CheckpointError, FileFormatError, atomic, load_safetensors, save_safetensors, write_atomically
from tinycnn.io.checkpoint import FORMAT, _digest
from tinycnn.io.safetensors import decode, encode

arrays = hnp.arrays(st.sampled_from(["f8", "f4", "f2", "i8", "i4", "u1", "u8", "?"]),
                    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
leaves = st.none() | st.booleans() | st.integers(-2**80, 2**80) | st.floats() | st.text(max_size=5) | arrays
trees = st.recursive(leaves, lambda t: st.lists(t, max_size=3) | st.lists(t, max_size=3).map(tuple)
                     | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.integers(), t,
                                       max_size=3), max_leaves=8)


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return isinstance(b, float) and (a == b or (a != a and b != b))
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(trees)
@settings(max_examples=60, deadline=None)
def test_what_is_saved_is_loaded(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("io") / "x.tc"
    tc.save(tree, path)
    assert same(tree, tc.load(path))


def test_headers_of_any_length(tmp_path):
    """Also those whose length begins as a pickle does, with the byte 0x80."""
    firsts = set()
    for n in range(0, 2100, 8):
        tc.save({"text": "x" * n}, tmp_path / "x.tc")
        assert tc.load(tmp_path / "x.tc") == {"text": "x" * n}
        firsts.add((tmp_path / "x.tc").read_bytes()[:2])
    assert {b"\x80\x01", b"\x80\x02", b"\x80\x04"} <= firsts


def test_odd_names_numbers_and_shapes(tmp_path):
    odd = {"__metadata__": np.ones(2), "": np.zeros(0), "\ud800": np.array(True), "a\0b": np.ones((0, 3)),
           "text": "\udfff", "numbers": [np.float32(1.5), np.int8(-3), np.bool_(True), -0.0, 2**200, float("-inf")]}
    tc.save(odd, tmp_path / "x")
    found = tc.load(tmp_path / "x")
    odd["numbers"][:3] = [1.5, -3, True]
    assert same(odd, found) and str(found["numbers"][3]) == "-0.0"
    tc.save({k: odd[k] for k in list(odd)[:4]}, tmp_path / "y")
    assert same({k: odd[k] for k in list(odd)[:4]}, tc.load(tmp_path / "y"))


def test_every_kind_of_array(tmp_path):
    numbers = np.array([[0, 1, 2], [3, 4, 100]])
    kinds = {f"{order}{kind}": numbers.astype(order + kind) for order in "<>"
             for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")}
    tc.save({**kinds, "strided": numbers.T[::-1], "scalar": np.array(7.0), "empty": np.ones((2, 0))}, tmp_path / "x")
    found = tc.load(tmp_path / "x")
    for name, array in kinds.items():
        assert found[name].dtype == array.dtype.newbyteorder("="), name
        assert found[name].flags.writeable and np.array_equal(found[name], array), name
    assert np.array_equal(found["strided"], numbers.T[::-1])
    assert found["scalar"].shape == () and found["empty"].shape == (2, 0)


def test_a_state_dict_is_a_plain_safetensors_file(tmp_path):
    model = tc.nn.Sequential(tc.nn.Conv2d(1, 2, 3), tc.nn.BatchNorm2d(2))
    tc.save(model.state_dict(), tmp_path / "w.safetensors")
    state = load_safetensors(tmp_path / "w.safetensors")
    assert list(state) and all(np.array_equal(state[k], v) for k, v in model.state_dict().items())
    official = pytest.importorskip("safetensors.numpy", reason="the cross-check needs safetensors")
    theirs = official.load_file(tmp_path / "w.safetensors")
    assert all(np.array_equal(theirs[k], v) for k, v in model.state_dict().items())
    official.save_file({"a": np.arange(6.0).reshape(2, 3), "b": np.array([True, False])}, tmp_path / "t.safetensors")
    ours = tc.load(tmp_path / "t.safetensors")
    assert ours["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and ours["b"].tolist() == [True, False]


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "x.tc"
    tc.save({"a": np.arange(4.0), "n": 3}, path)
    raw = path.read_bytes()
    with open(path, "r+b") as f:
        for at, byte in enumerate(raw):
            for bit in range(8):
                os.pwrite(f.fileno(), bytes([byte ^ 1 << bit]), at)
                with pytest.raises(CheckpointError):
                    tc.load(path)
            os.pwrite(f.fileno(), bytes([byte]), at)
    assert tc.load(path)["n"] == 3


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "x.tc"
    tc.save({"a": np.arange(4.0)}, path)
    raw = path.read_bytes()
    for n in range(len(raw)):
        path.write_bytes(raw[:n])
        with pytest.raises(CheckpointError):
            tc.load(path)


def file_with(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


ENTRY = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
MALFORMED = {
    "empty": b"",
    "seven bytes": b"1234567",
    "length 0": file_with(b""),
    "length 2^64-1": b"\xff" * 8 + b"{}",
    "past the end": b"\x09" + b"\0" * 7 + b"{}",
    "larger than accepted": file_with(b"{}" + b" " * (16 << 20)),
    "not JSON": file_with(b"{]"),
    "array root": file_with(b"[1]"),
    "leading space": file_with(b" {}"),
    "NUL padding": file_with(b"{}\0\0"),
    "deep": file_with(b'{"a":' * 100_000),
    "NaN": file_with(b'{"a":NaN}'),
    "bad UTF-8": file_with(b'{"\xff":1}'),
    "lone surrogate": file_with({"\ud800": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}),
    "5,000 digits": file_with(b'{"a":{"dtype":"U8","shape":[' + b"2" * 5000 + b'],"data_offsets":[0,2]}}', b"12"),
    "duplicate": file_with(b'{"a":' + json.dumps(ENTRY).encode() + b',"a":' + json.dumps(ENTRY).encode() + b"}", b"12"),
    "duplicate in metadata": file_with(b'{"__metadata__":{"a":"1","a":"2"}}'),
    "metadata": file_with({"__metadata__": {"a": 1}}),
    "entry": file_with({"a": [1]}),
    "extra field": file_with({"a": {**ENTRY, "x": 1}}, b"12"),
    "trailing": file_with({"a": ENTRY}, b"123"),
    "short body": file_with({"a": ENTRY}, b"1"),
    "unknown dtype": file_with({"a": {**ENTRY, "dtype": "F8"}}, b"12"),
    "dtype that is no text": file_with({"a": {**ENTRY, "dtype": ["U8"]}}, b"12"),
    "negative": file_with({"a": {**ENTRY, "shape": [-2]}}, b"12"),
    "boolean shape": file_with({"a": {**ENTRY, "shape": [True], "data_offsets": [0, 1]}}, b"1"),
    "float shape": file_with({"a": {**ENTRY, "shape": [2.0]}}, b"12"),
    "reversed": file_with({"a": {**ENTRY, "data_offsets": [2, 0]}}, b"12"),
    "wrong size": file_with({"a": {**ENTRY, "shape": [3]}}, b"12"),
    "overflow": file_with({"a": {**ENTRY, "shape": [2**40, 2**40]}}, b"12"),
    "overflow to the right size": file_with({"a": {**ENTRY, "shape": [2**63 + 1, 2]}}, b"12"),
    "too big though empty": file_with({"a": {"dtype": "U8", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}),
    "33 dimensions": file_with({"a": {**ENTRY, "shape": [2] + 32 * [1]}}, b"12"),
    "overlap": file_with({"a": ENTRY, "b": {**ENTRY, "data_offsets": [1, 3]}}, b"123"),
    "hole": file_with({"a": ENTRY, "b": {**ENTRY, "data_offsets": [3, 5]}}, b"12345"),
    "empty inside another": file_with({"a": ENTRY, "b": {**ENTRY, "shape": [0], "data_offsets": [1, 1]}}, b"12"),
    "boolean 7": file_with({"a": {**ENTRY, "dtype": "BOOL"}}, b"\x07\x01"),
}


def test_the_entry_itself_is_good():
    """Otherwise the malformed ones below would be refused for another reason."""
    assert decode(file_with({"a": ENTRY}, b"12"))[0]["a"].tolist() == [49, 50]


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused(name):
    with pytest.raises(FileFormatError):
        decode(MALFORMED[name])


@given(st.binary(max_size=40), st.integers(0, 200), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_mutants_raise_nothing_else(noise, at, kind):
    raw = b"".join(encode({"a": np.arange(3.0), "b": np.array([1], np.int8)}, {"k": "v"}))
    at %= len(raw)
    before, after, rest = raw[:at], raw[at:], raw[at + len(noise):]
    mutant = (before + noise + after, before + noise + rest, before + rest, noise)[kind]
    try:
        decode(mutant)
    except FileFormatError:
        pass


pieces = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), lambda t:
                      st.lists(t, max_size=2) | st.dictionaries(st.sampled_from("flatdx"), t, max_size=2), max_leaves=8)


@given(pieces)
@settings(max_examples=200, deadline=None)
def test_structures_nobody_wrote_are_refused(tmp_path_factory, tree):
    """Whatever the structure says, checksum and all: an object or CheckpointError."""
    text, arrays = json.dumps(tree), {"0": np.ones(2)}
    path = tmp_path_factory.mktemp("io") / "x"
    path.write_bytes(b"".join(encode(arrays, {"format": FORMAT, "sha256": _digest(arrays, text), "tree": text})))
    try:
        tc.load(path)
    except CheckpointError as error:
        assert str(path) in str(error)


def test_a_huge_file_that_is_none_is_not_read(tmp_path):
    """100 GB, of which nothing is on the disk: refused by its first bytes, without memory for it."""
    with open(tmp_path / "x", "wb") as f:
        f.write(file_with({"a": {"dtype": "U8", "shape": [10**11], "data_offsets": [0, 10**11]}}))
        f.truncate(10**11)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="cut short|bytes follow"):
        tc.load(tmp_path / "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000          # KiB


def test_what_cannot_be_stored_is_named():
    with pytest.raises(TypeError, match="a.b is a builtin_function_or_method"):
        tc.save({"a": {"b": print}}, "never")
    with pytest.raises(TypeError, match="complex128"):
        tc.save(np.ones(2, complex), "never")
    with pytest.raises(TypeError, match="key"):
        tc.save({(1, 2): 3}, "never")
    with pytest.raises(TypeError, match="list.1 is a longdouble"):
        tc.save({"list": [1, np.longdouble(1)]}, "never")
    endless = []
    endless.append(endless)
    with pytest.raises(TypeError, match="64 levels"):
        tc.save(endless, "never")
    with pytest.raises(ValueError, match="into arrays"):
        tc.save("x" * (16 << 20), "never")
    with pytest.raises(ValueError, match="rename"):
        save_safetensors({"__metadata__": np.ones(1)}, "never")
    with pytest.raises(ValueError, match="surrogate"):
        save_safetensors({"\ud800": np.ones(1)}, "never")
    with pytest.raises(TypeError, match="text"):
        save_safetensors({"a": np.ones(1)}, "never", {"epoch": 3})
    with pytest.raises(ValueError, match="dimensions"):
        save_safetensors({"a": np.ones((1,) * 33)}, "never")
    assert not os.path.exists("never")


@pytest.mark.skipif(sys.platform == "win32", reason="uses resource limits")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.tc"
    tc.save({"a": np.arange(3)}, path)
    before = path.read_bytes()
    code = f"""
import resource, signal, numpy as np, tinycnn as tc
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    tc.save({{"a": np.ones(10_000)}}, {str(path)!r})
except OSError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "refused" in done.stdout and str(path) in done.stdout
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.tc"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_failed_write_cleans_up(tmp_path):
    def pieces():
        yield b"half"
        raise KeyboardInterrupt
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "f", pieces())
    assert (tmp_path / "f").read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]
    with pytest.raises(OSError, match="missing"):
        write_atomically(tmp_path / "missing" / "f", b"")


def test_other_layouts_and_byte_orders(tmp_path):
    big = np.arange(6, dtype=">i4").reshape(2, 3).T
    save_safetensors({"x": big, "t": tc.Tensor([1.5])}, tmp_path / "x.safetensors")
    state = load_safetensors(tmp_path / "x.safetensors")
    assert np.array_equal(state["x"], big) and state["x"].dtype == np.int32 and state["t"].tolist() == [1.5]


def test_the_previous_file_is_kept(tmp_path):
    path, previous = tmp_path / "x.tc", tmp_path / "x.tc.prev"
    tc.save(1, path, keep_previous=True)
    assert os.listdir(tmp_path) == ["x.tc"]
    tc.save(2, path, keep_previous=True)
    assert (tc.load(path), tc.load(previous)) == (2, 1)
    tc.save(3, path, keep_previous=True)
    tc.save(4, path)
    assert (tc.load(path), tc.load(previous)) == (4, 2)
    previous.unlink()
    os.link(path, previous)                          # as a process leaves it that was killed between the two renames
    tc.save(5, path, keep_previous=True)
    assert (tc.load(path), tc.load(previous)) == (5, 4) and sorted(os.listdir(tmp_path)) == ["x.tc", "x.tc.prev"]


def failing(function, nth, failure):
    """`function`, whose nth call raises `failure`."""
    calls = []

    def call(*args, **options):
        calls.append(args)
        if len(calls) == nth:
            raise failure
        return function(*args, **options)
    return call


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("call", ["open", "fsync", "link", "replace"])
@pytest.mark.parametrize("nth", [1, 2])
def test_whatever_fails_leaves_a_whole_file(tmp_path, monkeypatch, call, nth, keep):
    """Each system call of a save fails once, as on a full or broken disk; then Ctrl-C instead."""
    path = tmp_path / "x.tc"
    tc.save("older", path)
    tc.save("old", path, keep_previous=True)
    for failure in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with monkeypatch.context() as m:
            m.setattr(atomic.os, call, failing(getattr(os, call), nth, failure))
            try:
                tc.save("new", path, keep_previous=keep)
            except (OSError, KeyboardInterrupt) as error:
                assert isinstance(error, KeyboardInterrupt) or "x.tc could not be written (No space left" in str(error)
        assert tc.load(path) in ("old", "new") and tc.load(tmp_path / "x.tc.prev") in ("older", "old", "new")
        assert sorted(os.listdir(tmp_path)) == ["x.tc", "x.tc.prev"]
        tc.save("older", path)
        tc.save("old", path, keep_previous=True)


def test_threads_may_write_the_same_file(tmp_path):
    def write(k):
        for _ in range(20):
            tc.save(np.full(1000, k), tmp_path / "x", keep_previous=True)
            assert len(set(tc.load(tmp_path / "x").tolist())) == 1
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(os.listdir(tmp_path)) == ["x", "x.prev"]


def test_the_official_library_agrees(tmp_path):
    """What it refuses is refused here; what both accept is equal.  It accepts some more: those are in MALFORMED."""
    official = pytest.importorskip("safetensors.numpy", reason="the cross-check needs safetensors")
    random = np.random.default_rng(0)
    raw = b"".join(encode({"a": np.arange(3.0), "b": np.array([1, -1], np.int8), "c": np.ones((0, 2))}, {"k": "v"}))
    accepted = 0
    for _ in range(3000):
        mutant = bytearray(raw)
        for at in random.integers(0, len(raw), random.integers(1, 4)):
            mutant[at] = random.integers(256) if random.random() < 0.5 else mutant[random.integers(len(raw))]
        try:
            ours = decode(bytes(mutant))[0]
        except FileFormatError:
            continue
        theirs = official.load(bytes(mutant))
        accepted += 1
        assert set(ours) == set(theirs) and all(ours[k].tobytes() == theirs[k].tobytes() for k in ours)
    assert accepted > 100
