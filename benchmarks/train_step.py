"""How long is a training step, beside PyTorch's in the same run?

    python -m benchmarks.train_step [--seconds 20] [--threads 2] [--out FILE]

One step = forward, cross-entropy, backward, SGD with momentum, float32.  tinycnn and PyTorch (both of its memory
layouts; left out where it is not installed) run in processes of their own and take turns, so that a busy machine
disturbs all alike.  The limit beside each net is its arithmetic: 3 x MACs x 2 FLOPs (forward, input gradient, weight
gradient), as GFLOP per step.
"""
from __future__ import annotations

import argparse
import os
import resource
import sys
from pathlib import Path
from time import perf_counter

from .timing import Worker, installed, machine, sample, serve, spread

NETS = {                              # name: (model, input shape, forward MACs per image)
    "lenet b256": ("lenet", (256, 1, 28, 28), 416_520),
    "resnet18 96x96 b32": ("resnet18_d2l", (32, 1, 96, 96), 318_657_536),
}


def tinycnn_step(net: str):
    """A closure that makes one training step of tinycnn."""
    import numpy as np

    import tinycnn as tc
    model_name, shape, _ = NETS[net]
    tc.manual_seed(0)
    model = tc.models.create_model(model_name)
    optimizer = tc.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    rng = np.random.default_rng(0)
    x = tc.Tensor(rng.standard_normal(shape).astype(np.float32))
    labels = rng.integers(0, 10, shape[0])

    def step():
        optimizer.zero_grad()
        loss = tc.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def torch_step(net: str, channels_last: bool):
    """The same step in PyTorch, the same net built from its parts."""
    import torch
    from torch import nn
    model_name, shape, _ = NETS[net]
    torch.manual_seed(0)
    model = {"lenet": torch_lenet, "resnet18_d2l": torch_resnet18}[model_name](nn)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x = torch.randn(shape).to(memory_format=layout)
    labels = torch.randint(0, 10, (shape[0],))

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def torch_lenet(nn):
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, 10))


def torch_resnet18(nn):
    class Residual(nn.Module):
        def __init__(self, c_in, c, stride):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(c_in, c, 3, stride, 1), nn.BatchNorm2d(c), nn.ReLU(),
                                      nn.Conv2d(c, c, 3, 1, 1), nn.BatchNorm2d(c))
            self.shortcut = nn.Conv2d(c_in, c, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x):
            return nn.functional.relu(self.body(x) + self.shortcut(x))

    widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    blocks = [b for c_in, c, s in widths for b in (Residual(c_in, c, s), Residual(c, c, 1))]
    return nn.Sequential(nn.Conv2d(1, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def work(contender: str) -> None:
    """The worker's side: build a step on first request, then time it for the seconds asked."""
    steps: dict = {}
    if contender != "tinycnn":
        import torch
        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))

    def answer(request):
        net = request["net"]
        first = None
        if net not in steps:
            start = perf_counter()
            steps[net] = (tinycnn_step(net) if contender == "tinycnn" else
                          torch_step(net, contender == "torch channels-last"))
            steps[net]()
            first = perf_counter() - start
        return {"times": sample(steps[net], request["seconds"]), "first": first,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    serve(answer)


def main() -> None:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="per net and contender")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args.worker)
    os.environ.update(BENCH_THREADS=str(args.threads), NUMBA_NUM_THREADS=str(args.threads),
                      OMP_NUM_THREADS=str(args.threads))
    names = ["tinycnn"] + (["torch", "torch channels-last"] if installed("torch") else [])
    lines = [f"# training step, float32, {args.threads} threads: {machine()}"]
    if len(names) == 1:
        lines.append("# PyTorch is not installed: no ratio")
    lines.append(f"{'net':20} {'contender':20} {'ms median':>10} {'quartiles':>17} {'GFLOP/s':>8} {'peak MiB':>9} "
                 f"{'first s':>8} {'ratio to best torch':>20}")
    for net in NETS:
        lines += table(net, compare(net, names, args.seconds))
    text = "\n".join(lines)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


def compare(net: str, names: list[str], seconds: float, rounds: int = 4) -> dict:
    """Times of every contender, taken in turns."""
    workers = [Worker("benchmarks.train_step", name) for name in names]
    found = {name: {"times": [], "peak": 0.0, "first": None} for name in names}
    for _ in range(rounds):
        for worker in workers:
            answer = worker.ask({"net": net, "seconds": seconds / rounds})
            mine = found[worker.name]
            mine["times"] += answer["times"]
            mine["peak"] = answer["peak"]
            mine["first"] = answer["first"] or mine["first"]
    for worker in workers:
        worker.close()
    return found


def table(net: str, found: dict) -> list[str]:
    """The lines of one net."""
    _, shape, macs = NETS[net]
    medians = {name: spread(f["times"]) for name, f in found.items()}
    best = min((m[0] for name, m in medians.items() if name != "tinycnn"), default=None)
    lines = []
    for name, (mid, low, high) in medians.items():
        ratio = f"{mid / best:20.2f}" if best and name == "tinycnn" else ""
        rate = 6 * macs * shape[0] / mid / 1e6
        lines.append(f"{net:20} {name:20} {mid:10.1f} {low:8.1f}-{high:<8.1f} {rate:8.1f} {found[name]['peak']:9.0f} "
                     f"{found[name]['first']:8.1f} {ratio}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
