"""How much memory does a training step need, with and without recomputation?

    python -m benchmarks.memory [NET ...] [--layers 8 16 32 64] [--threads 2] [--out DIR]

One step = forward, cross-entropy, backward, SGD with momentum, float32, with the models' memory_efficient=False and
True.  Each runs in a process of its own, so that the peaks do not mix:

    kept      bytes of NumPy arrays that a forward pass leaves behind for backward, by tracemalloc
    arrays    most bytes of NumPy arrays alive at a time in the second step, by tracemalloc; parameters, gradients and
              momentum are among them
    process   the most the process had resident in three steps (ru_maxrss): with Python, compiled kernels and scratch
    seconds   of the third step, without tracemalloc
    losses    whether those of all three steps have the same bits

The first table makes one dense block deeper and deeper: layer i joins the i maps before it, so that twice the layers
keep more and more nearly four times the bytes (3.4 from 32 to 64); with joins, norms and ReLUs recomputed, never more
than twice.  The second table has whole nets.  --out writes all numbers to memory.json there.

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
from importlib import import_module
from pathlib import Path
from time import perf_counter

from .timing import Worker, machine, serve, write_json

NETS = {                              # name: input shape
    "densenet121": (4, 3, 224, 224),
    "densenet_bc100_12_cifar": (32, 3, 32, 32),
    "resnet110_cifar": (32, 3, 32, 32),
    "resnet1202_cifar": (32, 3, 32, 32),
}
DENSE = "densenet121", (8, 3, 64, 64)  # the block of the first table, on maps of 16x16
MIB = 2 ** 20


def request(net: str, shape: tuple[int, ...], **options: object) -> dict:
    """What measure() is asked: a model's name, an input's shape, and the model's options."""
    return {"net": net, "shape": shape, "options": options}


def training_step(net: str, shape: tuple[int, ...], options: dict):
    """A function that makes one training step and returns its loss and the bytes that forward kept."""
    import numpy as np

    import tinycnn as tc
    tc.manual_seed(0)
    model = tc.models.create_model(net, num_classes=10, **options)
    optimizer = tc.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    rng = np.random.default_rng(0)
    x = tc.Tensor(rng.standard_normal(shape).astype(np.float32))
    labels = rng.integers(0, 10, shape[0])

    def step():
        optimizer.zero_grad()
        before = _traced()
        loss = tc.nn.functional.cross_entropy(model(x), labels)
        kept = _traced() - before
        loss.backward()
        optimizer.step()
        return loss.item(), kept
    return step


def _traced():
    """Bytes alive; 0 while tracemalloc is off."""
    return tracemalloc.get_traced_memory()[0]


def measure(asked: dict) -> dict:
    """The worker's side: bytes and seconds, and the losses of three steps."""
    import_module("tinycnn.kernels.cpu")             # Numba's own objects are not what is measured
    tracemalloc.start()                              # before the model: its parameters count
    step = training_step(**asked)
    first, _ = step()                                # makes the optimizer's state and compiles
    gc.collect()
    tracemalloc.reset_peak()
    second, kept = step()
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    start = perf_counter()
    third, _ = step()
    seconds = perf_counter() - start
    return {"kept": kept, "arrays": arrays, "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "seconds": round(seconds, 2), "losses": [first, second, third]}


def compare(net: str, shape: tuple[int, ...], **options: object) -> dict:
    """A net both ways, one process after the other."""
    found = {}
    for name, memory_efficient in (("plain", False), ("memory_efficient", True)):
        worker = Worker("benchmarks.memory", name)
        found[name] = worker.ask(request(net, shape, memory_efficient=memory_efficient, **options))
        worker.close()
    return {"net": net, "shape": shape, **options, **found}


def columns(found: dict) -> str:
    """A net's numbers both ways: "plain -> recomputed"."""
    plain, less = found["plain"], found["memory_efficient"]
    sizes = "  ".join(f"{plain[k] / MIB:>7,.0f} -> {less[k] / MIB:<7,.0f}" for k in ("kept", "arrays", "process"))
    same = "same" if plain["losses"] == less["losses"] else "DIFFER"
    return f"{sizes}  {plain['seconds']:>6.1f} -> {less['seconds']:<6.1f} {same}"


HEADING = "  ".join(f"{name + ', MiB':^18}" for name in ("kept", "arrays", "process")) + f"  {'seconds':^16} losses"


def main(argv: list[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(NETS)}; all by default")
    parser.add_argument("--layers", type=int, nargs="*", default=[8, 16, 32, 64], help="of the dense block")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for memory.json")
    args = parser.parse_args(argv)
    unknown = [n for n in args.nets if n not in NETS]
    if unknown:
        parser.error(f"unknown net {unknown[0]!r}: choose from {', '.join(NETS)}")
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(args.threads)
    results = {"machine": machine(), "threads": args.threads, "dense_block": [], "nets": []}
    net, shape = DENSE
    print(f"# {results['machine']}\n\n{f'dense block, layers ({_x(shape)})':40}  {HEADING}", flush=True)
    for layers in args.layers:
        results["dense_block"].append(compare(net, shape, block_config=[layers]))
        print(f"{layers:<40}  {columns(results['dense_block'][-1])}", flush=True)
    print(f"\n{'net':40}  {HEADING}", flush=True)
    for net in args.nets or NETS:
        results["nets"].append(compare(net, NETS[net]))
        print(f"{net:24} {_x(NETS[net]):>15}  {columns(results['nets'][-1])}", flush=True)
    if args.out:
        write_json(results, args.out / "memory.json")


def _x(shape):
    return "x".join(map(str, shape))


if __name__ == "__main__":
    if "--worker" in sys.argv:
        serve(measure)
    else:
        main()
