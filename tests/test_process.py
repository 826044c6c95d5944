"""What a user's process sees: what an import loads, how memory stays, that bits do not depend on threads or runs."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinycnn as tc

ROOT = Path(__file__).parents[1]


def python(code, **environment):
    """Run `code` in a new process; what it prints, parsed as JSON."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, text=True, capture_output=True,
                          env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_import_loads_nothing_heavy():
    loaded = python("import sys, json, tinycnn; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))")
    assert not {"numba", "llvmlite", "cupy", "scipy", "matplotlib", "tqdm", "PIL", "torch"} & set(loaded)


def test_no_top_level_package_called_kernels():
    message = python("""
import json
try:
    import kernels
except ImportError as error:
    print(json.dumps(str(error)))
""")
    assert "tinycnn.kernels" in message


TRAIN = """
import hashlib, json, sys
import numpy as np
import tinycnn as tc
tc.manual_seed(3)
model = tc.models.create_model("bn_lenet")
optimizer = tc.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
rng = np.random.default_rng(0)
for _ in range(4):
    x = tc.Tensor(rng.standard_normal((37, 1, 28, 28)).astype("f"))
    loss = tc.nn.functional.cross_entropy(model(tc.nn.functional.dropout(x, 0.2)), rng.integers(0, 10, 37))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
state = b"".join(np.ascontiguousarray(v).tobytes() for v in model.state_dict().values())
print(json.dumps(hashlib.sha256(state).hexdigest()))
"""


def test_same_bits_run_to_run_and_for_any_number_of_threads():
    digests = {python(TRAIN, NUMBA_NUM_THREADS=n, OMP_NUM_THREADS=n, OPENBLAS_NUM_THREADS=n) for n in ("1", "2", "2")}
    assert len(digests) == 1


GROWTH = """
import gc, json
import numpy as np
import tinycnn as tc
gc.disable()
model = tc.models.create_model("lenet")
optimizer = tc.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
x, labels = tc.Tensor(np.ones((8, 1, 28, 28), "f")), np.arange(8)

def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096

for step in range({steps}):
    loss = tc.nn.functional.cross_entropy(model(x), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 100:
        before = resident()
print(json.dumps((resident() - before) / 2**20))
"""

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc/self/statm")


@needs_proc
def test_memory_stays_with_the_collector_off():
    assert python(GROWTH.format(steps=400)) <= 5


@needs_proc
@pytest.mark.slow
def test_memory_stays_for_10_000_steps():
    assert python(GROWTH.format(steps=10_000)) <= 5


def test_python_threads_may_share_the_kernels():
    """Numba's simplest thread pool aborts the process when two threads enter it; ours queue."""
    code = """
import json, threading
import numpy as np
import tinycnn as tc
x, w = tc.Tensor(np.ones((4, 8, 32, 32), "f")), tc.Tensor(np.ones((16, 8, 3, 3), "f"))
out = []
def work():
    with tc.no_grad():
        for _ in range(20):
            y = tc.nn.functional.conv2d(x, w, padding=1)
    out.append(float(y.sum().item()))
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(json.dumps(sorted(set(out))))
"""
    assert len(python(code)) == 1
    assert len(python(code, NUMBA_THREADING_LAYER="workqueue")) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_gets_an_error_and_not_a_signal():
    code = """
import json, os, sys, warnings
import numpy as np
import tinycnn as tc
x = tc.Tensor(np.ones((64, 8, 32, 32), "f"))
w = tc.Tensor(np.ones((16, 8, 3, 3), "f"))
tc.nn.functional.conv2d(x, w)
warnings.simplefilter("ignore")                      # Python itself warns of fork with threads
read, write = os.pipe()
pid = os.fork()
if not pid:
    try:
        tc.nn.functional.conv2d(x, w)
        os.write(write, b"ran")
    except RuntimeError as error:
        os.write(write, str(error).encode())
    os._exit(0)
status = os.waitpid(pid, 0)[1]
print(json.dumps([status, os.read(read, 9999).decode()]))
"""
    status, said = python(code)
    assert status == 0 and "fork" in said


def test_arrays_are_shared_with_numpy():
    x = np.ones(3, np.float32)
    t = tc.Tensor(x)
    x[0] = 5
    assert t.data is x and np.asarray(t)[0] == 5 and t.numpy()[0] == 5
    copied = tc.tensor(x)
    x[1] = 7
    assert copied.tolist() == [5, 1, 1]
