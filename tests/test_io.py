"""Checkpoints and .safetensors files: round trips, damage, and what must be refused."""
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinycnn as tc
from tinycnn.io import CheckpointError, FileFormatError, load_safetensors, save_safetensors, write_atomically
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
    try:
        tc.save(tree, path)
    except UnicodeEncodeError:
        return                                       # text with lone surrogates is no text
    assert same(tree, tc.load(path))


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
    for bit in range(0, 8 * len(raw), 3):
        mutant = bytearray(raw)
        mutant[bit // 8] ^= 1 << bit % 8
        path.write_bytes(mutant)
        with pytest.raises(CheckpointError):
            tc.load(path)


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
    "empty": b"", "seven bytes": b"1234567", "length 2^64-1": b"\xff" * 8 + b"{}", "past the end": b"\x09" + b"\0" * 7 + b"{}",
    "not JSON": file_with(b"{]"), "array root": file_with(b"[1]"), "leading space": file_with(b' {}'),
    "deep": file_with(b'{"a":' * 100_000), "NaN": file_with(b'{"a":NaN}'), "bad UTF-8": file_with(b'{"\xff":1}'),
    "lone surrogate": file_with(b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    "duplicate": file_with(b'{"a":' + json.dumps(ENTRY).encode() + b',"a":' + json.dumps(ENTRY).encode() + b"}", b"12"),
    "extra field": file_with({"a": {**ENTRY, "x": 1}}, b"12"), "trailing": file_with({"a": ENTRY}, b"123"),
    "short body": file_with({"a": ENTRY}, b"1"), "unknown dtype": file_with({"a": {**ENTRY, "dtype": "F8"}}, b"12"),
    "negative": file_with({"a": {**ENTRY, "shape": [-2]}}, b"12"), "boolean shape": file_with({"a": {**ENTRY, "shape": [True]}}, b"1"),
    "float shape": file_with({"a": {**ENTRY, "shape": [2.0]}}, b"12"), "reversed": file_with({"a": {**ENTRY, "data_offsets": [2, 0]}}, b"12"),
    "overflow": file_with({"a": {**ENTRY, "shape": [2**40, 2**40]}}, b"12"), "wrong size": file_with({"a": {**ENTRY, "shape": [3]}}, b"12"),
    "overlap": file_with({"a": ENTRY, "b": {**ENTRY, "data_offsets": [1, 3]}}, b"123"),
    "hole": file_with({"a": ENTRY, "b": {**ENTRY, "data_offsets": [3, 5]}}, b"12345"),
    "boolean 7": file_with({"a": {**ENTRY, "dtype": "BOOL"}}, b"\x07\x01"), "metadata": file_with({"__metadata__": {"a": 1}}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused(name):
    with pytest.raises(FileFormatError):
        decode(MALFORMED[name])


@given(st.binary(max_size=40), st.integers(0, 200), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_mutants_raise_nothing_else(noise, at, kind):
    raw = b"".join(encode({"a": np.arange(3.0), "b": np.array([1], np.int8)}, {"k": "v"}))
    at %= len(raw)
    mutant = (raw[:at] + noise + raw[at:], raw[:at] + noise + raw[at + len(noise):], raw[:at] + raw[at + len(noise):], noise)[kind]
    try:
        decode(mutant)
    except FileFormatError:
        pass


def test_what_cannot_be_stored_is_named():
    with pytest.raises(TypeError, match="a.b is a function"):
        tc.save({"a": {"b": print.__class__ and (lambda: 0)}}, "never")
    with pytest.raises(TypeError, match="complex128"):
        tc.save(np.ones(2, complex), "never")
    with pytest.raises(TypeError, match="key"):
        tc.save({(1, 2): 3}, "never")
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
