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
from tinycnn.data import DataLoader

TWO = """
import numpy as np, tinycnn as tc
from tinycnn import distributed as d, nn
from tinycnn.data import DataLoader
d.init()
r, size = d.get_rank(), d.get_world_size()
assert size == 2
for op, expected in dict(sum=[3, 4], avg=[1.5, 2], prod=[2, 4], max=[2, 2], min=[1, 2]).items():
    for dtype in (np.float64, np.float32, np.float16):
        assert d.all_reduce(tc.tensor([1 + r, 2], dtype=dtype), op).tolist() == expected, (op, dtype)
turned = tc.tensor([[1, 2], [3, 4]]).t() + 0
turned.data = turned.data.T.copy().T                 # not in C order
assert d.all_reduce(turned).tolist() == [[2, 6], [4, 8]]
assert d.broadcast(tc.tensor([r, 5]), src=1).tolist() == [1, 5]

tc.manual_seed(r)                                    # other weights until they are sent
net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).double()
for p in net.parameters():
    d.broadcast(p)
rng = np.random.default_rng(0)
data = [(rng.standard_normal((1, 6, 6)), i % 4) for i in range(16)]

def gradients(batch):
    net.zero_grad()
    nn.functional.cross_entropy(net(tc.tensor(batch[0])), batch[1]).backward()

halves = DataLoader(data, 4, shuffle=True, shard=(r, size))
for whole, half in zip(DataLoader(data, 8, shuffle=True), halves, strict=True):
    gradients(half)
    alone = [p.grad.numpy().copy() for p in net.parameters()]
    d.average_gradients(net)
    averaged = [p.grad.numpy().copy() for p in net.parameters()]
    gradients(whole)
    for p, a, one in zip(net.parameters(), averaged, alone, strict=True):
        np.testing.assert_allclose(a, p.grad.numpy(), rtol=1e-12, atol=1e-15)
        assert abs(a - one).max() > 1e-3             # a half would not do
d.barrier()
print(f"right {r}\\n", end="")                        # one write: lines of two processes mix
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

        def all_reduce(self, array, op):
            assert op == "sum" and array.dtype == np.float32       # also of 16 bits
            self.sent.append(array.size)
            array *= 2
    monkeypatch.setattr(distributed, "_group", Twins())
    monkeypatch.setattr(distributed, "BUCKET", 9)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4))
    for dtype in (np.float32, np.float16):
        Twins.sent.clear()
        for i, p in enumerate(model.to(dtype).parameters()):
            p.grad = tc.full(p.shape, i, dtype=dtype)
        distributed.average_gradients(model)
        assert Twins.sent == [8, 8, 4]
        assert [set(p.grad.numpy().ravel()) for p in model.parameters()] == [{0.0}, {1.0}, {2.0}, {3.0}]
        assert {p.grad.dtype for p in model.parameters()} == {np.dtype(dtype)}


def test_what_makes_no_group_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"broadcast: src must be a rank, 0\.\.0, got 1"):
        distributed.broadcast(tc.ones(2), src=1)
    with pytest.raises(ValueError, match="all_reduce: op must be one of sum, avg, prod, max, min, got 'mean'"):
        distributed.all_reduce(tc.ones(2), "mean")
    with pytest.raises(TypeError, match="all_reduce: the average of int64"):
        distributed.all_reduce(tc.arange(2), "avg")
    for act in (distributed.all_reduce, distributed.broadcast):
        with pytest.raises(TypeError, match="booleans cannot be sent"):
            act(tc.ones(2) > 0)
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


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("images, ranks", [(12, 3), (13, 3), (14, 3), (2, 5)])
def test_shards_are_those_of_torch(images, ranks, drop_last):
    data = [(np.zeros(1), i) for i in range(images)]
    if drop_last and images < ranks:
        with pytest.raises(ValueError, match="2 images are fewer than 5 ranks"):
            DataLoader(data, drop_last=True, shard=(0, ranks))
        return
    found = [[int(t[0]) for _, t in DataLoader(data, drop_last=drop_last, shard=(r, ranks))] for r in range(ranks)]
    each = images // ranks if drop_last else -(-images // ranks)
    assert found == [[i % images for i in range(r, each * ranks, ranks)] for r in range(ranks)]
    sampler = pytest.importorskip("torch").utils.data.DistributedSampler
    assert found == [list(sampler(data, ranks, r, shuffle=False, drop_last=drop_last)) for r in range(ranks)]


def test_shards_make_up_the_batch_and_can_be_restored():
    class Changing:
        """A data set whose images are changed at random."""

        def __len__(self):
            return 10

        def __getitem__(self, i):
            return np.zeros(1), i

        def batch(self, indices, rng):
            return rng.random((len(indices), 1)), indices
    whole = list(DataLoader(Changing(), 4, shuffle=True, seed=3))
    parts = [DataLoader(Changing(), 2, shuffle=True, seed=3, shard=(r, 2)) for r in range(2)]
    shards = [list(part) for part in parts]
    assert [len(part) for part in parts] == [3, 3]
    for (_, labels), (x, first), (y, second) in zip(whole, *shards, strict=True):
        assert np.stack([first, second], 1).ravel().tolist() == labels.tolist()
        assert not np.array_equal(x, y)              # other changes in each process
    parts[1].load_state_dict({"epoch": 0, "position": 2, "seed": 3})
    (x, t), = parts[1]
    np.testing.assert_array_equal(x, shards[1][2][0])
    np.testing.assert_array_equal(t, shards[1][2][1])
    for wrong in ((2, 2), (-1, 2), (0,), 1, (0, 0), (0.0, 2)):
        with pytest.raises(ValueError, match=r"shard must be \(rank, ranks\) with 0 <= rank < ranks"):
            DataLoader(Changing(), shard=wrong)


def test_two_ranks_by_mpi():
    """Two halves of each batch give the gradients of the whole."""
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if find_spec("mpi4py") is None or mpiexec is None:
        pytest.skip("needs mpi4py and mpiexec: pip install 'tinycnn[mpi]'")
    done = subprocess.run([mpiexec, "-n", "2", sys.executable, "-c", TWO], capture_output=True, text=True,
                          timeout=120, cwd=Path(__file__).parents[1], env={**os.environ, "NUMBA_NUM_THREADS": "1"})
    assert sorted(done.stdout.splitlines()) == ["right 0", "right 1"], done.stderr
