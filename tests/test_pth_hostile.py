"""Files made to mislead the reader of PyTorch's weight files: refused quickly, with little memory; nothing runs."""
import io
import os
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from tinycnn.io import FileFormatError, load_pth, load_weights
from tinycnn.io.pth import MAGIC, decode_pth

def text(s):
    return b"X" + struct.pack("<I", len(s.encode())) + s.encode()


def glob(module, name):
    return f"c{module}\n{name}\n".encode()


def storage(count=4, key="0", kind="FloatStorage"):
    """The persistent id of a storage."""
    return b"(" + text("storage") + glob("torch", kind) + text(key) + text("cpu") + integer(count) + b"tQ"


def integer(n):
    raw = n.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + raw


def tensor(offset=0, size=(4,), stride=(1,), function="_rebuild_tensor_v2", count=4, key="0", kind="FloatStorage"):
    def numbers(values):
        return b"(" + b"".join(map(integer, values)) + b"t"
    return (glob("torch._utils", function) + b"(" + storage(count, key, kind) + integer(offset) + numbers(size)
            + numbers(stride) + b"\x89" + glob("collections", "OrderedDict") + b")RtR")


def zip_with(entries, method=zipfile.ZIP_STORED):
    """A zip file of (name, bytes)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, content in entries:
            z.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


FOUR = np.arange(4, dtype=np.float32).tobytes()


def archive(program, *more, data=FOUR):
    return zip_with([("a/data.pkl", b"\x80\x02" + program + b"."), ("a/byteorder", b"little"), ("a/data/0", data),
                     *more])


def test_the_ingredients_are_good(tmp_path):
    """Otherwise the hostile files below would be refused for another reason."""
    (tmp_path / "x").write_bytes(archive(b"}" + text("w") + tensor() + b"s"))
    assert load_pth(tmp_path / "x")["w"].tolist() == [0, 1, 2, 3]
    (tmp_path / "x").write_bytes(archive(tensor(1, (2, 2), (1, 1))))
    assert load_pth(tmp_path / "x").tolist() == [[1, 2], [2, 3]]
    (tmp_path / "x").write_bytes(legacy(PART))
    assert load_pth(tmp_path / "x").tolist() == [1, 2, 3]


def legacy(program, keys=None, count=4, little=b"\x88", version=1001):
    """A file of before PyTorch 1.6, with one storage where the program mentions one."""
    if keys is None:
        keys = ("0",) if b"storage" in program else ()
    system = b"\x80\x02}" + text("little_endian") + little + b"s."
    listed = b"\x80\x02](" + b"".join(map(text, keys)) + b"e."
    stored = b"".join(struct.pack("<Q", count) + FOUR for _ in keys)
    magic = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
    return (magic + b"\x80\x02" + integer(version) + b"." + system + b"\x80\x02" + program + b"." + listed + stored)


# The view of a storage as PyTorch 0.3 wrote it: elements 1 to 3.
PART = tensor(0, (3,)).replace(b"tQ", b"(" + text("view") + integer(1) + integer(3) + b"ttQ")
def laughs(n):
    """A list of two lists, which are one, of two lists, ... n deep: 2^n values, were they written out."""
    return b"]q\0" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(n))


MARKER = "pickle-code-ran"
TOUCH = text(f"touch {MARKER}") + b"\x85"
OPEN = text(MARKER) + text("w") + b"\x86"
PICKLES = {
    # what would run code
    "os.system": glob("os", "system") + TOUCH + b"R",
    "posix.system": glob("posix", "system") + TOUCH + b"R",
    "subprocess.Popen": glob("subprocess", "Popen") + TOUCH + b"R",
    "builtins.eval": glob("builtins", "eval") + text(f"open('{MARKER}', 'w')") + b"\x85R",
    "__builtin__.exec": glob("__builtin__", "exec") + text(f"open('{MARKER}', 'w')") + b"\x85R",
    "builtins.open": glob("builtins", "open") + OPEN + b"R",
    "getattr chain": glob("builtins", "getattr") + glob("os", "path") + text("os") + b"\x86R",
    "importlib": glob("importlib", "import_module") + text("os") + b"\x85R",
    "dotted name": glob("collections", "OrderedDict.__init__.__globals__") + TOUCH + b"R",
    "STACK_GLOBAL": text("os") + text("system") + b"\x93" + TOUCH + b"R",
    "STACK_GLOBAL of numbers": b"K\1K\2\x93",
    "INST": b"(" + text(f"touch {MARKER}") + b"ios\nsystem\n",
    "OBJ": b"(" + glob("os", "system") + text(f"touch {MARKER}") + b"o",
    "NEWOBJ": glob("collections", "OrderedDict") + b")\x81",
    "NEWOBJ_EX": glob("collections", "OrderedDict") + b")}\x92",
    "EXT1": b"\x82\x01", "EXT2": b"\x83\x01\0", "EXT4": b"\x84\x01\0\0\0",
    "Namespace": glob("argparse", "Namespace") + b")R",
    "_load_from_bytes": glob("torch.storage", "_load_from_bytes") + b"C\x01.\x85R",
    "torch.load": glob("torch", "load") + text("x") + b"\x85R",
    "numpy._reconstruct": glob("numpy.core.multiarray", "_reconstruct") + b")R",
    "BUILD of a tensor": tensor() + b"}" + text("__class__") + text("x") + b"sb",
    "BUILD with a tuple": b"}" + b")b",
    "call of a text": text("print") + b")R",
    "call of a dict": b"})R",
    "call of a storage class": glob("torch", "FloatStorage") + b")R",
    "call with a list": glob("collections", "OrderedDict") + b"]R",
    "PERSID": b"Pstorage\n",
    "a function as value": b"]" + glob("torch._utils", "_rebuild_tensor_v2") + b"a",
    "a class as value": b"}" + text("x") + glob("torch", "FloatStorage") + b"s",
    # what would take memory or time
    "text of 4 GB": b"X\xff\xff\xff\xffx",
    "text of 2^63": b"\x8d" + b"\xff" * 8, "bytes of 2^63": b"\x8e" + b"\xff" * 8,
    "integer of 2 GB": b"\x8b\xff\xff\xff\x7f1", "integer of 2,000 bytes": b"\x8b\xd0\x07\0\0" + b"\1" * 2000,
    "frame of 2^63": b"\x95" + b"\xff" * 8, "digits": b"L" + b"9" * 100_000 + b"L\n",
    "memo of 2^32": b"]r\xff\xff\xff\xff", "memo of 2^28": b"]r\xff\xff\xff\x0f",
    "memo text": b"]p99999999999999999999\n",
    "negative memo": b"]p-1\n",
    "billion laughs": laughs(100),
    "billion laughs as dtype": laughs(60) + glob("torch._utils", "_rebuild_tensor_v3") + b"("
    + storage(16, kind="ByteStorage") + b"K\0))\x89Nh\x3ctR",
    "uint16 of a 0-d tensor": glob("torch._utils", "_rebuild_tensor_v3") + b"("
    + tensor(size=(), stride=(), count=16, kind="ByteStorage") + b"K\0))\x89N" + glob("torch", "uint16") + b"tR",
    "uint16 from an odd byte": glob("torch._utils", "_rebuild_tensor_v3") + b"("
    + tensor(1, size=(4,), count=16, kind="ByteStorage") + b"K\0))\x89N" + glob("torch", "uint16") + b"tR",
    "tuples in tuples": b")" + b"\x85" * 100_000,
    "lists in lists": b"]" + b"]" * 5000 + b"a" * 5000,
    "a list in itself": b"]q\0h\0a", "a dict in itself": b"}q\0" + text("x") + b"h\0s",
    "a chain that looks shallow": b"]q\0](" + b"".join(
        b"]r" + struct.pack("<I", i) + b"j" + struct.pack("<I", i - 1) + b"a" for i in range(1, 200)) + b"e",
    "600,000 marks": b"(" * 600_000, "600,000 dicts": b"}" * 600_000, "2 million values": b"N" * 2_000_000,
    "one set copied 10,000 times": text("x") + b"q\1(" + b"h\1" * 20_000 + b"lq\0]"
    + (glob("builtins", "set") + b"h\0\x85Ra") * 10_000,
    "20,000 numbers as keys": b"}(" + b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(20_000)) + b"u",
    "a key of 5,000 characters": b"}" + text("x" * 5000) + b"Ns",
    "tuples in tuples as key": b"})" + b"\x85" * 1000 + b"Ns",
    "a list as key": b"}]Ns", "a list in a set": b"\x8f(]\x90",
    # what is no program
    "empty": b"", "nothing on the stack": b"0", "no mark": b"t", "no value": b"}(" + text("x") + b"u",
    "append to a dict": b"}Na", "item of a list": b"]NNs", "member of a list": b"](N\x90", "empty memo": b"h\0",
    "protocol 0": b"\x80\0N", "protocol 6": b"\x80\6N", "unknown opcode": b"\xff", "half a float": b"G\0\0",
    "no number": b"Lx\n", "bad UTF-8": b"X\2\0\0\0\xff\xfe", "lone surrogate": b"X\3\0\0\0\xed\xa0\x80",
    "a pair that is none": glob("collections", "OrderedDict") + b"]K\1a\x85R",
    "a Counter of a list": glob("collections", "Counter") + b"]\x85R",
    "a set of a number": glob("builtins", "set") + b"K\1\x85R",
    "complex text": glob("builtins", "complex") + text("1") + text("2") + b"\x86R",
    # tensors
    "past the end": tensor(1), "far past the end": tensor(2**62 - 1), "long stride": tensor(size=(2,), stride=(4,)),
    "negative offset": tensor(-1), "negative size": tensor(size=(-1,)),
    "negative stride": tensor(size=(2,), stride=(-1,)),
    "overflow": tensor(size=(2**33, 2**33), stride=(0, 0)), "expanded to 16 TB": tensor(size=(2**42,), stride=(0,)),
    "empty and huge": tensor(size=(0, 2**60), stride=(1, 1)), "65 dimensions": tensor(size=(1,) * 65, stride=(0,) * 65),
    "ranks differ": tensor(size=(2, 2)), "boolean size": tensor().replace(integer(4) + b"t(", b"\x88t("),
    "too few arguments": glob("torch._utils", "_rebuild_tensor_v2") + b")R",
    "a tensor of a text": glob("torch._utils", "_rebuild_tensor") + b"(" + text("x") + b"K\0))tR",
    "a tensor of a tensor": glob("torch._utils", "_rebuild_tensor") + b"(" + tensor(size=(2, 2), stride=(2, 1))
    + b"K\0))tR", "a parameter of None": glob("torch._utils", "_rebuild_parameter") + b"N\x89N\x87R",
    "storage too long": tensor(count=5), "storage of 2^62": tensor(count=2**62), "negative storage": tensor(count=-4),
    "storage of doubles": tensor(kind="DoubleStorage"), "no such storage": tensor(key="1"),
    "storage elsewhere": tensor(key="../data.pkl"),
    "storage in two ways": tensor() + tensor(kind="IntStorage") + b"\x86",
    "a boolean of 64": tensor(count=16, kind="BoolStorage"), "quantised": tensor(kind="QInt8Storage"),
    "a storage that is a list": b"]Q",
    "a storage that is a tensor": b"(" + tensor() + b"NNNNtQ", "a module": b"(" + text("module") + b"NNNNtQ",
    "a key that is a number": storage().replace(text("0"), b"K\0"),
    "conjugated": tensor()[:-2] + b"}" + text("conj") + b"\x88stR",
    "float8": glob("torch._utils", "_rebuild_tensor_v3") + b"(" + storage(16, kind="ByteStorage") + b"K\0))\x89N"
    + text("torch.float8_e5m2") + b"tR",
    "a size of a list": glob("torch", "Size") + b"]\x85R", "a device of a list": glob("torch", "device") + b"]\x85R",
}


def refused(path, read=load_pth):
    """Refused, naming the path: within half a second, and with memory in proportion to the file's size."""
    for _ in range(3):                               # the work is the same each time; a busy machine's time is not
        start = time.thread_time()
        with pytest.raises(FileFormatError) as error:
            read(path)
        seconds = time.thread_time() - start
        if seconds < 0.5:
            break
    assert seconds < 0.5
    assert str(path) in str(error.value) and len(str(error.value)) < 2000
    tracemalloc.start()                              # a second time: it makes small objects several times as slow
    try:
        with pytest.raises(FileFormatError):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < (1 << 20) + 200 * path.stat().st_size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for content in (archive(PICKLES[name]), legacy(PICKLES[name])):
        (tmp_path / "x").write_bytes(content)
        refused(tmp_path / "x")
    assert os.listdir(tmp_path) == ["x"]             # no command ran, nothing was written


def test_pickles_are_no_longer_than_16_mib(tmp_path):
    (tmp_path / "x").write_bytes(archive(b"B\0\0\x10\1" + bytes(17 << 20)))
    refused(tmp_path / "x")


# ---------------------------------------------------------------------------------------- hostile files

GOOD = archive(tensor())
AT = GOOD.index(b"PK\1\2")                           # the directory
LENGTH = struct.unpack_from("<I", GOOD, AT + 20)[0]    # of the first entry
NAN = np.full(4, np.nan, np.float32).tobytes()


def patched(at, new, raw=GOOD):
    return raw[:at] + new + raw[at + len(new):]


FILES = {
    "empty": b"", "one byte": b"P", "no format": b"hello world, this is no such file", "tar": b"./" + bytes(1022),
    "zip of nothing": zip_with([]), "zip of others": zip_with([("x.txt", b"x")]), "end record only": GOOD[-22:],
    "two programs": archive(tensor(), ("b/data.pkl", b"N.")),
    "TorchScript": archive(tensor(), ("a/constants.pkl", b")")),
    "program outside a folder": zip_with([("data.pkl", b"N.")]),
    "big-endian": zip_with([("a/data.pkl", tensor() + b"."), ("a/byteorder", b"big"), ("a/data/0", NAN)]),
    "long byteorder": zip_with([("a/data.pkl", tensor() + b"."), ("a/byteorder", b"l" * 10**5), ("a/data/0", NAN)]),
    "packed storages": zip_with([("a/data.pkl", tensor() + b"."), ("a/data/0", NAN)], zipfile.ZIP_DEFLATED),
    "bzip2": zip_with([("a/data.pkl", tensor() + b"."), ("a/data/0", NAN)], zipfile.ZIP_BZIP2),
    "bomb": zip_with([("a/data.pkl", b"N" * 10**7)], zipfile.ZIP_DEFLATED),
    "short storage": archive(tensor(), data=NAN[1:]), "long storage": archive(tensor(), data=NAN + b"1"),
    "no storage": zip_with([("a/data.pkl", tensor() + b".")]),
    "same name twice": archive(tensor(), ("a/data/1", NAN)).replace(b"a/data/1", b"a/data/0"),
    "name with ..": archive(tensor(), ("a/../data/1", NAN)), "absolute name": archive(tensor(), ("/a/data/1", NAN)),
    "backslash": archive(tensor(), ("a\\data", NAN)), "folder": archive(tensor(), ("a/x/", b"")),
    "name that is no UTF-8": archive(tensor(), ("a/data/1", NAN)).replace(b"a/data/1", b"a/data/\xff"),
    "two names for one entry": patched(30, b"b"), "damaged program": GOOD.replace(b"storage", b"storagf"),
    "encrypted": patched(AT + 8, b"\1"), "sizes differ": patched(AT + 24, b"\xf0"),
    "entry elsewhere": patched(AT + 42, b"\x01"), "entry past the end": patched(AT + 42, b"\xf0\xff\xff\x7f"),
    "overlapping entries": patched(AT + 20, struct.pack("<II", LENGTH + 60, LENGTH + 60)),
    "entry over the directory": patched(GOOD.rindex(b"PK\1\2") + 20, struct.pack("<II", 10**6, 10**6)),
    "100,001 entries": patched(len(GOOD) - 22 + 8, b"\xff\xff\xff\xff"),
    "one entry too few": patched(len(GOOD) - 22 + 8, b"\2\0\2\0"),
    "second volume": patched(len(GOOD) - 22 + 4, b"\1"), "comment cut off": patched(len(GOOD) - 2, b"\5"),
    "directory elsewhere": patched(len(GOOD) - 22 + 16, b"\0"), "trailing byte": GOOD + b"x",
    "zip64 nowhere": GOOD[:-22] + b"PK\6\7" + bytes(4) + b"\xff" * 8 + bytes(4) + GOOD[-22:],
    "legacy, cut": legacy(tensor())[:-1], "legacy, no storages": legacy(tensor())[:-24],
    "legacy, count of 2^63": legacy(tensor(), count=2**63), "legacy, count differs": legacy(tensor(), count=3),
    "legacy, another key": legacy(tensor(key="1")), "legacy, keys missing": legacy(tensor(), keys=()),
    "legacy, key twice": legacy(tensor(), keys=("0", "0")), "legacy, big-endian": legacy(tensor(), little=b"\x89"),
    "legacy, version 1000": legacy(tensor(), version=1000),
    "legacy, billion laughs as version": legacy(b"N").replace(integer(1001), laughs(60)),
    "legacy, only magic": legacy(b"")[:15],
    "legacy, another magic": legacy(b"N").replace(b"\x6c\xfc", b"\x6c\xfd"),
    "legacy, part outside": legacy(PART.replace(integer(3), integer(4))),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_files_are_refused(tmp_path, name):
    (tmp_path / "x").write_bytes(FILES[name])
    refused(tmp_path / "x")
    refused(tmp_path / "x", load_weights)


@pytest.mark.parametrize("content", [GOOD, legacy(tensor())], ids=["zip", "old"])
def test_every_truncation_is_refused(tmp_path, content):
    for n in range(len(content)):
        (tmp_path / "x").write_bytes(content[:n])
        with pytest.raises(FileFormatError):
            load_pth(tmp_path / "x")


# ---------------------------------------------------------------------------------------- mutants

def samples():
    """A program with most opcodes, as a file of either format and alone, to be packed after it was changed."""
    program = (b"}q\0(" + text("w") + tensor(0, (2, 2), (2, 1)) + text("p") + glob("torch._utils", "_rebuild_parameter")
               + tensor() + b"\x88" + glob("collections", "OrderedDict") + b")R\x87R" + text("n")
               + b"(K\1M\2\0J\3\0\0\0G\x3f\xf0\0\0\0\0\0\0\x88N]q\1(])eh\1\x85t"
               + text("s") + glob("__builtin__", "set") + b"](K\1K\2e\x85Ru")
    return archive(program), legacy(program), program


def mutant(random, raw):
    """With a few bytes changed, copied elsewhere, inserted or removed."""
    raw = bytearray(raw)
    for _ in range(random.integers(1, 5)):
        at, other, n = random.integers(0, len(raw), 3) % [len(raw), len(raw), 9]
        kind = random.integers(5)
        if kind == 0:
            raw[at] = random.integers(256)
        elif kind == 1:
            raw[at] ^= 1 << random.integers(8)
        elif kind == 2:
            raw[at:at + n] = raw[other:other + n]
        elif kind == 3:
            raw[at:at] = raw[other:other + n]
        elif len(raw) > 40:
            del raw[at:at + n]
    return bytes(raw)


def mutants_are_harmless(count, seed):
    """Each file or program changed `count` times: read or FileFormatError, in half a second."""
    random, read = np.random.default_rng(seed), 0
    whole, old, program = samples()
    assert decode_pth(whole).keys() == decode_pth(old).keys() == {"w", "p", "n", "s"}
    for make in (lambda: mutant(random, whole), lambda: mutant(random, old), lambda: archive(mutant(random, program)),
                 lambda: legacy(mutant(random, program))):
        for _ in range(count):
            raw = make()
            start = time.thread_time()
            try:
                decode_pth(raw)
                read += 1
            except FileFormatError:
                pass
            assert time.thread_time() - start < 0.5
    assert read > count / 10                         # otherwise most mutants would test little
    return read


def test_mutants():
    mutants_are_harmless(2000, 0)


@pytest.mark.slow
def test_100_000_mutants():
    mutants_are_harmless(100_000, 1)
