"""Weights by name from files of all kinds, and .npz files that are not what they say."""
import io
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

import tinycnn as tc
from tinycnn.io import FileFormatError, load_weights, save_safetensors, save_weights
from tinycnn.io.npz import decode_npz

W = {"conv.weight": np.arange(12, dtype=np.float32).reshape(3, 4).T, "n": np.array(3), "none": np.zeros((0, 2)),
     "half": np.array([0.5], np.float16), "mask": np.array([True, False]), "z": np.array([1j], np.complex64)}


def same(found, expected):
    return list(found) == list(expected) and all(
        found[n].dtype == a.dtype and found[n].shape == a.shape and np.array_equal(found[n], a)
        for n, a in expected.items())


# ---------------------------------------------------------------------------------------- round trips

@pytest.mark.parametrize("name", ["w.npz", "w.safetensors"])
def test_what_is_saved_is_loaded(tmp_path, name):
    save_weights({**W, "tensor": tc.Tensor([1.5])}, tmp_path / name)
    found = load_weights(tmp_path / name)
    assert found["tensor"].tolist() == [1.5] and same({n: found[n] for n in W}, W)
    assert all(a.flags.writeable and a.flags.aligned for a in found.values())
    again = (tmp_path / name).read_bytes()
    save_weights({**W, "tensor": tc.Tensor([1.5])}, tmp_path / name)
    assert (tmp_path / name).read_bytes() == again   # no dates in it


def test_numpy_reads_what_is_saved_and_the_other_way_round(tmp_path):
    save_weights(W, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as found:
        assert same(dict(found), W)
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "v.npz", **W, fortran=np.asfortranarray(np.ones((2, 3))), big=np.array([1, 2], ">i4"))
        found = load_weights(tmp_path / "v.npz")
        assert same({n: found[n] for n in W}, W) and found["big"].dtype == np.int32 and found["big"].tolist() == [1, 2]
        assert found["fortran"].flags.f_contiguous and found["fortran"].shape == (2, 3)


def test_what_cannot_be_saved_is_refused(tmp_path):
    with pytest.raises(ValueError, match="safetensors or .npz"):
        save_weights(W, tmp_path / "w.pth")
    for name in ("a/b", "../a", "", "a\0", "..", 3):
        with pytest.raises(ValueError, match="cannot be the name"):
            save_weights({name: np.ones(1)}, tmp_path / "w.npz")
    with pytest.raises(TypeError, match="object"):
        save_weights({"a": np.array([None])}, tmp_path / "w.npz")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------- where the weights are

@pytest.mark.parametrize("place", [None, "state_dict", "model", "model_state_dict", "net", "params"])
def test_weights_are_found_in_checkpoints(tmp_path, place):
    torch = pytest.importorskip("torch", reason="the files are written by torch")
    state = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).state_dict()
    for i, prefix in enumerate(["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]):
        weights = {prefix + name: value for name, value in state.items()}
        path = tmp_path / f"{i}.pth.tar"
        torch.save(weights if place is None else {"epoch": 3, place: weights}, path)
        assert same(load_weights(path), {name: value.numpy() for name, value in state.items()})


def test_prefixes_that_not_all_names_have_stay(tmp_path):
    save_weights({"module.a": np.ones(1), "b": np.ones(1)}, tmp_path / "w.npz")
    assert list(load_weights(tmp_path / "w.npz")) == ["module.a", "b"]


def test_checkpoints_of_tinycnn(tmp_path):
    model = tc.nn.Sequential(tc.nn.Conv2d(1, 2, 3), tc.nn.BatchNorm2d(2))
    state = {n: np.asarray(v) for n, v in model.state_dict().items()}
    tc.save({"model": model.state_dict(), "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "checkpoint.tc")
    assert same(load_weights(tmp_path / "checkpoint.tc"), state)
    tc.save(model.state_dict(), tmp_path / "flat.tc")
    assert same(load_weights(tmp_path / "flat.tc"), state)
    save_safetensors(state, tmp_path / "w", {"format": "pt"})          # as other programs mark their files
    assert {n: a.tolist() for n, a in load_weights(tmp_path / "w").items()} == {n: a.tolist() for n, a in state.items()}


def test_densenet_has_its_new_names(tmp_path):
    old = {"features.denseblock1.denselayer12.norm.1.weight": "features.denseblock1.denselayer12.norm1.weight",
           "features.denseblock1.denselayer12.conv.2.weight": "features.denseblock1.denselayer12.conv2.weight",
           "features.transition1.norm.weight": "features.transition1.norm.weight", "norm.1.weight": "norm.1.weight"}
    save_weights({name: np.ones(1) for name in old}, tmp_path / "w.npz")
    assert list(load_weights(tmp_path / "w.npz")) == list(old.values())
    save_weights({name: np.ones(1) for name in (*old, *old.values())}, tmp_path / "w.npz")
    with pytest.raises(FileFormatError, match="old and new"):
        load_weights(tmp_path / "w.npz")


def test_files_without_weights_say_what_they_hold(tmp_path):
    tc.save({"epoch": 3, "model": {"a": 1}}, tmp_path / "x")
    with pytest.raises(FileFormatError, match="x: no dict of arrays.*epoch, model"):
        load_weights(tmp_path / "x")
    tc.save([np.ones(1)], tmp_path / "x")
    with pytest.raises(FileFormatError, match="a list"):
        load_weights(tmp_path / "x")
    with pytest.raises(OSError):
        load_weights(tmp_path / "missing")


# ---------------------------------------------------------------------------------------- .npz files made to mislead

def npy(header, body=b"12345678", magic=b"\x93NUMPY\1\0"):
    return magic + len(header).to_bytes(2, "little") + header + body


def npz(content, name="a.npy", method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        z.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def header(descr="<f4", order="False", shape="(2,)"):
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}   \n".encode()


def pickled():
    out = io.BytesIO()
    np.savez(out, a=np.array([{}, None], dtype=object), allow_pickle=True)
    return out.getvalue()


GOOD = npz(npy(header()))
MISLEADING = {
    "array of objects": pickled(), "dtype of objects": npz(npy(header("|O"))),
    "structured": npz(npy(header("[('a', '<f4')]"))),
    "no dtype": npz(npy(header("<f3"))), "a text": npz(npy(header("<U2"))), "void": npz(npy(header("|V4"))),
    "code": npz(npy(b"__import__('os').system('touch x')\n")), "deep": npz(npy(b"(" * 4000)), "empty": npz(b""),
    "only magic": npz(b"\x93NUMPY\1\0"), "version 4": npz(npy(header(), magic=b"\x93NUMPY\4\0")),
    "header past the end": npz(b"\x93NUMPY\1\0\xff\xff{"), "header of 1 GB": npz(b"\x93NUMPY\2\0\0\0\0\x40{"),
    "long header": npz(npy(header() + b" " * 5000)), "too short": npz(npy(header(shape="(3,)"))),
    "too long": npz(npy(header(shape="(1,)"))), "terabytes": npz(npy(header(shape="(1099511627776, 1024)"))),
    "overflow to the right size": npz(npy(header(shape="(4611686018427387905, 2)"))),
    "empty and huge": npz(npy(header(shape="(0, 999999999999999999, 999999999999999999)"), b"")),
    "negative": npz(npy(header(shape="(-2,)"))), "nested shape": npz(npy(header(shape="((2,),)"))),
    "65 dimensions": npz(npy(header(shape="(" + "1, " * 64 + "2)"))),
    "two numbers in one": npz(npy(header(shape="(1 2,)"))), "commas": npz(npy(header(shape="(1,,2)"))),
    "boolean 7": npz(npy(header("|b1", shape="(8,)"))),
    "many digits": npz(npy(header(shape="(" + "1" * 3900 + ",)"))),
    "other things too": npz(b"x", "a.txt"), "bomb": npz(bytes(80 << 20), method=zipfile.ZIP_DEFLATED),
    "damaged": GOOD.replace(b"1234", b"1235"), "leads out": npz(npy(header()), "../a.npy"),
    "bzip2": npz(npy(header()), method=zipfile.ZIP_BZIP2),
    "size in the directory": GOOD.replace(b"PK\1\2" + GOOD[GOOD.index(b"PK\1\2") + 4:][:20], b"PK\1\2" + bytes(20)),
}


def test_the_good_one_is_read():
    """Otherwise the misleading ones below would be refused for another reason."""
    assert decode_npz(GOOD)["a"].tobytes() == b"12345678"


@pytest.mark.parametrize("name", MISLEADING)
def test_misleading_files_are_refused(tmp_path, name):
    (tmp_path / "x.npz").write_bytes(MISLEADING[name])
    tracemalloc.start()
    start = time.thread_time()
    with pytest.raises(FileFormatError, match="x.npz: "):
        load_weights(tmp_path / "x.npz")
    seconds, peak = time.thread_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 0.5 and peak < 2 << 20
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def mutants_are_harmless(count):
    random, read = np.random.default_rng(0), 0
    out = io.BytesIO()
    np.savez_compressed(out, a=np.arange(6.0).reshape(2, 3), b=np.array([True]))
    for raw in (GOOD, out.getvalue()):
        for _ in range(count):
            changed = bytearray(raw)
            for at in random.integers(0, len(raw), random.integers(1, 4)):
                changed[at] = random.integers(256) if random.random() < 0.5 else raw[random.integers(len(raw))]
            start = time.thread_time()
            try:
                decode_npz(bytes(changed))
                read += 1
            except FileFormatError:
                pass
            assert time.thread_time() - start < 0.5
    assert read > count / 20


def test_mutants():
    mutants_are_harmless(2000)


@pytest.mark.slow
def test_100_000_mutants():
    mutants_are_harmless(100_000)
