"""PyTorch's weight files read without PyTorch: equal to what it wrote, and nothing that could do harm."""
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tinycnn.io import FileFormatError, load_pth, load_weights

DATA = Path(os.environ.get("TINYCNN_DATA", Path(__file__).parents[2] / "shared" / "data"))
RESNET20 = DATA / "checkpoints" / "resnet20-12fca82f.th"


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the files are written by torch")


def saved(torch, value, path, zipped):
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def same(ours, theirs):
    """Ours as read, theirs as torch has it: values, dtypes, nesting, order of keys."""
    if hasattr(theirs, "detach"):
        bits = str(theirs.dtype) == "torch.bfloat16"
        theirs = (theirs.detach().float() if bits else theirs.detach()).numpy()
        return ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()
    if isinstance(theirs, dict):
        return type(ours) is dict and list(ours) == list(theirs) and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, (list, tuple)):
        return isinstance(theirs, type(ours)) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


# ---------------------------------------------------------------------------------------- what torch writes

def zoo(torch):
    """Tensors of all kinds, and plain values."""
    x = torch.arange(24.0).reshape(2, 3, 4)
    kinds = {str(d): x.to(d) for d in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
                                       torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
                                       torch.bool, torch.complex64, torch.complex128)}
    views = {"transposed": x.transpose(0, 2), "strided": x[1:, ::2, 1:3], "row": x[1, 2], "again": x, "0-d": x[1, 1, 1],
             "expanded": torch.ones(3, 1).expand(3, 5), "windows": torch.arange(9.0).unfold(0, 3, 1),
             "empty": torch.zeros(0, 3), "empty part": x[:, :0], "parameter": torch.nn.Parameter(x),
             "channels last": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)}
    plain = [None, True, False, 0, -1, 255, 65536, -2**31, 2**31, 2**200, 0.5, float("-inf"), "", "é" * 200, 2j,
             (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, {1: {2.5: "x", None: 3, (1, "a"): 4}}, {1, 2},
             frozenset("ab")]
    return {**kinds, **views, "plain": plain, "size": x.shape}


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_read(torch, tmp_path, zipped, protocol):
    value = zoo(torch)
    path = tmp_path / "x.pth"
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert same(load_pth(path), value)


def test_layouts_are_kept_and_storages_shared(torch, tmp_path):
    x = torch.arange(24.0).reshape(2, 3, 4)
    found = load_pth(saved(torch, {"x": x, "t": x.transpose(0, 2), "part": x[1]}, tmp_path / "x.pth", True))
    assert found["t"].strides == (4, 16, 48) and np.shares_memory(found["t"], found["x"])
    found["part"][:] = -1                            # as in torch: views of one storage
    assert (found["x"][1] == -1).all() and found["x"][0, 0, 1] == 1


def test_arrays_can_be_written_and_the_file_stays(torch, tmp_path):
    path = saved(torch, {"x": torch.ones(1000)}, tmp_path / "x.pth", True)
    before = path.read_bytes()
    load_pth(path)["x"][:] = 7
    assert path.read_bytes() == before and (load_pth(path)["x"] == 1).all()


@pytest.mark.parametrize("zipped", [True, False])
def test_every_bfloat16_is_exact(torch, tmp_path, zipped):
    bits = torch.arange(-2**15, 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    found = load_pth(saved(torch, [bits, bits[1::2]], tmp_path / "x.pth", zipped))
    expected = bits.view(torch.int16).numpy().view(np.uint16).astype(np.uint32) << 16
    assert found[0].dtype == np.float32 and np.array_equal(found[0].view(np.uint32), expected)
    assert np.array_equal(found[1].view(np.uint32), expected[1::2])


@pytest.mark.parametrize("zipped", [True, False])
def test_optimizers_and_schedules(torch, tmp_path, zipped):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    makers = (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True), torch.optim.Adam, torch.optim.RMSprop,
              lambda p: torch.optim.AdamW(p, betas=(0.8, 0.9), amsgrad=True))
    for make in makers:
        optimizer = make(model.parameters())
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
        for _ in range(2):
            model(torch.randn(2, 1, 5, 5)).square().sum().backward()
            optimizer.step()
            schedule.step()
        steps = dict(schedule.state_dict(), milestones={1: 1, 3: 1})          # a Counter, which is a dict
        path = saved(torch, {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                             "schedule": schedule.state_dict(), "epoch": 3}, tmp_path / "x.pth", zipped)
        found = load_pth(path)
        assert same(found["model"], dict(model.state_dict())) and same(found["optimizer"], optimizer.state_dict())
        assert found["schedule"].keys() == steps.keys() and found["schedule"]["milestones"] == {1: 1, 3: 1}


def test_devices_and_dtypes_are_text(torch, tmp_path):
    value = [torch.device("cuda:1"), torch.device("cpu"), torch.float32, torch.bfloat16]
    assert load_pth(saved(torch, value, tmp_path / "x", True)) == ["cuda:1", "cpu", "torch.float32", "torch.bfloat16"]


def test_what_is_no_plain_tensor_is_refused_by_name(torch, tmp_path):
    x = torch.ones(2, 2)
    refused = {"resolve_conj": torch.complex(x, x).conj(), "float8_e5m2": x.to(torch.float8_e5m2),
               "_rebuild_sparse_tensor": x.to_sparse(),
               "torch.nn.modules.linear.Linear": torch.nn.Linear(2, 2),
               "larger than": torch.ones(1).expand(10**6, 10**6),
               "numpy": np.ones(2)}
    for name, value in refused.items():
        path = saved(torch, {"x": value}, tmp_path / "x.pth", True)
        with pytest.raises(FileFormatError, match=name) as error:
            load_pth(path)
        assert str(path) in str(error.value)


def test_a_file_of_old_pytorch():
    """resnet20 of github.com/akamaster/pytorch_resnet_cifar10, in the format of before 1.6."""
    if not RESNET20.exists():
        pytest.skip(f"{RESNET20} is not there (TINYCNN_DATA names the folder)")
    found = load_pth(RESNET20)
    assert list(found) == ["best_prec1", "state_dict"] and found["best_prec1"] == pytest.approx(91.78, abs=0.1)
    weights = load_weights(RESNET20)
    assert weights["conv1.weight"].shape == (16, 3, 3, 3) and weights["linear.weight"].shape == (10, 64)
    assert weights["layer3.2.bn2.running_var"].shape == (64,) and len(weights) == 97
    assert sum(a.size for n, a in weights.items() if "running" not in n and "tracked" not in n) == 269_722
    assert all(a.flags.aligned and a.flags.writeable for a in weights.values())


def test_a_large_file_opens_at_once(torch, tmp_path):
    """100 MB in 320 tensors, as many as ResNet-50 has: mapped, not read.  Twenty times what it takes would pass."""
    path = saved(torch, {f"layer{i}.weight": torch.zeros(512, 160) for i in range(320)}, tmp_path / "x.pth", True)
    tracemalloc.start()
    start = time.thread_time()
    found = load_pth(path)
    seconds, peak = time.thread_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 320 and seconds < 0.5 and peak < 2 << 20
    path.unlink()
