"""Groups of processes: of one everywhere, of two by MPI, by NCCL where there is a GPU."""
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import distributed, nn

TWO = """
import numpy as np, tinycnn as tc
from tinycnn import distributed as d, nn
d.init()
r = d.get_rank()
assert d.get_world_size() == 2
assert d.all_reduce(tc.tensor([1.0 + r, 2.0])).tolist() == [3.0, 4.0]
assert d.broadcast(tc.tensor([float(r)]), src=1).tolist() == [1.0]
net = nn.Linear(3, 2)
for p in net.parameters():
    p.grad = tc.full(p.shape, float(r))
d.average_gradients(net)
d.barrier()
assert all((p.grad.numpy() == 0.5).all() for p in net.parameters())
print("right", r)
"""


@pytest.fixture(autouse=True)
def alone_again(monkeypatch):
    monkeypatch.setattr(distributed, "_group", distributed._Alone())
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def one_rank(device):
    distributed.init(device)
    assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)
    x = tc.tensor([1.0, 2.0], device=device)
    assert distributed.all_reduce(x) is x and distributed.broadcast(x).tolist() == [1.0, 2.0]
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(device)
    model(tc.ones(2, 3, device=device)).sum().backward()
    before = [p.grad.numpy().copy() for p in model.parameters()]
    distributed.average_gradients(model)
    distributed.barrier()
    for p, g in zip(model.parameters(), before):
        np.testing.assert_array_equal(p.grad.numpy(), g)


@pytest.mark.parametrize("device", ["cpu", "cuda-emu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_group_of_one(device, monkeypatch):
    if device == "cuda-emu" and shutil.which("g++") is None:
        pytest.skip("the emulator needs g++")
    monkeypatch.setattr(distributed, "BUCKET", 5)    # several buckets
    one_rank(device)


def test_gradients_are_averaged_bucket_by_bucket(monkeypatch):
    class Twins(distributed._Alone):
        """Both ranks have the same: the sum is twice it."""
        size, sent = 2, []

        def all_reduce(self, array):
            self.sent.append(array.size)
            array *= 2
    monkeypatch.setattr(distributed, "_group", Twins())
    monkeypatch.setattr(distributed, "BUCKET", 9)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4))
    for i, p in enumerate(model.parameters()):
        p.grad = tc.full(p.shape, float(i))
    distributed.average_gradients(model)
    assert Twins.sent == [8, 8, 4]
    assert [set(p.grad.numpy().ravel()) for p in model.parameters()] == [{0.0}, {1.0}, {2.0}, {3.0}]


def test_what_makes_no_group_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"broadcast: src must be a rank, 0\.\.0, got 1"):
        distributed.broadcast(tc.ones(2), src=1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(ValueError, match="RANK must be a whole number below WORLD_SIZE"):
        distributed.init()
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(RuntimeError, match="no groups of processes on device 'cuda-emu'|g\\+\\+"):
        distributed.init("cuda-emu")
    if find_spec("mpi4py") is None:
        with pytest.raises(RuntimeError, match="need MPI: pip install 'tinycnn\\[mpi\\]'"):
            distributed.init()


def test_two_ranks_by_mpi():
    if find_spec("mpi4py") is None or shutil.which("mpiexec") is None:
        pytest.skip("needs mpi4py and mpiexec: pip install 'tinycnn[mpi]'")
    done = subprocess.run(["mpiexec", "-n", "2", sys.executable, "-c", TWO], capture_output=True, text=True,
                          timeout=120, cwd=Path(__file__).parents[1], env={**os.environ, "NUMBA_NUM_THREADS": "1"})
    assert sorted(done.stdout.splitlines()) == ["right 0", "right 1"], done.stderr
