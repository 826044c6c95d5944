"""How much memory does a training step need, with and without recomputation?

    python -m benchmarks.memory [NET ...] [--threads 2] [--out FILE]

One step = forward, cross-entropy, backward, SGD with momentum, float32, with the models' memory_efficient=False and
True.  Each runs in a process of its own, so that the peaks do not mix:

    arrays    most bytes of NumPy arrays alive at a time in the second step, by tracemalloc; parameters, gradients and
              momentum are among them
    process   the most the process had resident in three steps: with Python, compiled kernels and their scratch
    seconds   of the third step, without tracemalloc
    losses    whether those of all three steps have the same bits

Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost (arXiv:1604.06174); Pleiss et al. 2017, Memory-Efficient
Implementation of DenseNets (arXiv:1707.06990).
"""
from __future__ import annotations

import argparse
import gc
import os
import resource
import sys
import tracemalloc
from pathlib import Path
from time import perf_counter

from .timing import Worker, machine, serve

NETS = {                              # name: input shape
    "densenet121": (4, 3, 224, 224),
    "densenet_bc100_12_cifar": (32, 3, 32, 32),
    "resnet110_cifar": (32, 3, 32, 32),
    "resnet1202_cifar": (32, 3, 32, 32),
}


def training_step(net: str, memory_efficient: bool):
    """A closure that makes one training step and returns its loss."""
    import numpy as np

    import tinycnn as tc
    tc.manual_seed(0)
    model = tc.models.create_model(net, num_classes=10, memory_efficient=memory_efficient)
    optimizer = tc.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    rng = np.random.default_rng(0)
    x = tc.Tensor(rng.standard_normal(NETS[net]).astype(np.float32))
    labels = rng.integers(0, 10, len(x.data))

    def step():
        optimizer.zero_grad()
        loss = tc.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def measure(request: dict) -> dict:
    """The worker's side: bytes and seconds, and the losses of three steps."""
    tracemalloc.start()                              # before the model: its parameters count
    step = training_step(request["net"], request["memory_efficient"])
    gc.collect()
    losses = [step()]                                # makes the optimizer's state and compiles
    tracemalloc.reset_peak()
    losses.append(step())
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    start = perf_counter()
    losses.append(step())
    seconds = perf_counter() - start
    return {"arrays": arrays, "seconds": seconds, "losses": losses,
            "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def row(net: str) -> str:
    """A line of the table: both variants of a net, and how much less the second needs."""
    found = []
    for memory_efficient in (False, True):
        worker = Worker("benchmarks.memory", net)
        found.append(worker.ask({"net": net, "memory_efficient": memory_efficient}))
        worker.close()
    plain, less = found
    shape = "x".join(map(str, NETS[net]))
    same = "same" if plain["losses"] == less["losses"] else "DIFFER"
    columns = [f"{plain[k] / 2 ** 20:,.0f} -> {less[k] / 2 ** 20:,.0f}" for k in ("arrays", "process")]
    return (f"{net:<24} {shape:>15}  {columns[0]:>16}  {plain['arrays'] / less['arrays']:>4.1f}x  "
            f"{columns[1]:>16}  {plain['seconds']:>6.1f} -> {less['seconds']:<6.1f} {same}")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(NETS)}; all by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    unknown = [n for n in options.nets if n not in NETS]
    if unknown:
        parser.error(f"unknown net {unknown[0]!r}: choose from {', '.join(NETS)}")
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    lines = [machine(), "", f"{'net':<24} {'input':>15}  {'arrays, MiB':>16}  {'':>5}  {'process, MiB':>16}  "
             f"{'seconds':>16} losses"]
    print("\n".join(lines), flush=True)
    for net in options.nets or NETS:
        lines.append(row(net))
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if "--worker" in sys.argv:
        serve(measure)
    else:
        main()
