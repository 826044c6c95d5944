"""kernels/cpu/launch.py: tasks on all threads, each done once; failures; machine code from the disk; threads, forks."""
import os
import subprocess
import sys
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import get_num_threads, set_num_threads
from tinycnn.kernels.cpu import threads

BIG = threads.SMALL                                  # so many numbers take a kernel to all threads


@threads.parallel
def _count(thread, times, who, tasks, ballast):
    for task in threads.mine(thread, tasks):
        times[task] += 1
        who[task] = thread[0]


@threads.parallel
def _fail(thread, at, tasks, ballast):
    for task in threads.mine(thread, tasks):
        if task == at:
            raise ValueError("this task is not to be done")


@pytest.fixture(params=range(1, get_num_threads() + 1))
def number(request):
    before = get_num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


@pytest.mark.parametrize("ballast", [0, BIG])
@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 7, 1000])
def test_each_task_is_done_once_by_neighbouring_threads(tasks, ballast, number):
    times, who = np.zeros(tasks, np.int64), np.zeros(tasks, np.int64)
    _count(times, who, tasks, np.zeros(ballast))
    assert (times == 1).all()
    expected = number if ballast else 1
    counts = np.bincount(who, minlength=expected)
    assert len(counts) == expected and counts.max() - counts.min() <= 1 and (np.diff(who) >= 0).all()


@given(st.integers(0, 10 ** 6), st.integers(1, 300))
def test_shares_for_any_number_of_threads(tasks, many):
    shares = [threads.mine.py_func((number, many), tasks) for number in range(many)]
    assert shares[0].start == 0 and shares[-1].stop == tasks
    assert all(one.stop == other.start for one, other in zip(shares, shares[1:]))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("ballast", [0, BIG])
@pytest.mark.parametrize("at", [0, 1, 6])
def test_what_a_task_raises_the_caller_sees(at, ballast, number):
    _fail(-1, 7, np.zeros(ballast))
    with pytest.raises(ValueError, match="this task is not to be done"):
        _fail(at, 7, np.zeros(ballast))
    _fail(-1, 7, np.zeros(ballast))


def test_several_python_threads_may_call_at_once():
    times = np.zeros((4, 5000), np.int64)

    def work(row):
        for _ in range(50):
            _count(row, np.zeros_like(row), len(row), np.zeros(BIG))
    workers = [Thread(target=work, args=(row,)) for row in times]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (times == 50).all()


def test_read_only_arrays_need_no_other_machine_code():
    times = np.zeros(5, np.int64)
    ballast = np.zeros(BIG)
    _count(times, np.zeros(5, np.int64), 5, ballast)
    known = len(_count.kernel.signatures)
    ballast.flags.writeable = False
    _count(times, np.zeros(5, np.int64), 5, ballast)
    _count(times, np.zeros(5, np.int64), 5, np.broadcast_to(0.0, 0))         # of no memory
    assert len(_count.kernel.signatures) == known and (times == 3).all()
    assert not ballast.flags.writeable


SECOND = """
import numpy as np, tinycnn as tc
from tinycnn.kernels.cpu.activation import _relu
x = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32)
assert np.array_equal(tc.nn.functional.relu(tc.Tensor(x)).numpy(), np.maximum(x, 0))
print(sum(_relu.kernel.stats.cache_hits.values()), sum(_relu.kernel.stats.cache_misses.values()))
"""


def test_a_second_process_finds_the_machine_code(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", SECOND]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [run.stdout.split() for run in runs] == [["0", "1"], ["1", "0"]]
