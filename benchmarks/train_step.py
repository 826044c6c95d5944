"""How long are a training step and an inference, beside PyTorch's in the same run?

    python -m benchmarks.train_step [--nets PATTERN] [--seconds 8] [--threads 2] [--out FILE] [--json FILE]

Eleven nets, float32.  A training step = forward, cross-entropy, backward, SGD with momentum; inference = the forward
pass in evaluation mode without a graph, by model.fuse() where there is one.  tinycnn and PyTorch (eager, both of its
memory layouts; left out where it is not installed) run the same layers in processes of their own, fresh for each net,
and take turns, so that a busy machine disturbs all alike.

    ms         median and quartiles of a call; "?" where the quartiles are more than 15 % of the median apart
    best       the shortest call
    GFLOP/s    2 FLOPs for each multiply-add of convolutions and linear layers, in training three times as many
               (forward, input gradient, weight gradient), by the median
    peak       most memory of three steps beyond what the process had before it made the model, in MiB: parameters,
               gradients, momentum, activations, scratch, loaded kernels
    first      seconds of the first step in that process; tinycnn's kernels come from Numba's cache on the disk, as
               another process, not timed, runs the same step before
    ratio      tinycnn's median to the median of PyTorch's faster layout
"""
from __future__ import annotations

import os
import sys
from fnmatch import fnmatch
from time import perf_counter
from typing import Any, Callable

from .nets import NETS, tinycnn_net, torch_net
from .timing import (
    Report,
    Worker,
    forget_peak,
    geometric_mean,
    in_turns,
    installed,
    parser,
    peak,
    resident,
    sample,
    serve,
    summarised,
    unsteady,
)

CONTENDERS = ("tinycnn", "torch", "torch channels-last")
ROUNDS = 4
MODES = {"training": 3, "inference": 1}              # passes of about the same arithmetic


class Contender:
    """The worker's side: one net, first trained, then asked."""

    _step: Callable[[], Any]
    _answer: Callable[[], Any]

    def start(self, model: str, shape: list[int]) -> dict:
        """Make the model and take three steps.  Returns {"first": seconds, "peak": MiB, "parameters": their number}."""
        before = resident()
        forget_peak()
        parameters = self.build(model, shape)
        start = perf_counter()
        self._step()
        first = perf_counter() - start
        for _ in range(2):
            self._step()
        return {"first": round(first, 3), "peak": round(peak() - before, 1), "parameters": parameters}

    def train(self, seconds: float) -> list[float]:
        """Milliseconds of training steps."""
        return sample(self._step, seconds, least=2, warmups=1)

    def infer(self, seconds: float) -> list[float]:
        """Milliseconds of forward passes in evaluation mode, without a graph."""
        return sample(self._answer, seconds, least=2, warmups=1)

    def build(self, model: str, shape: list[int]) -> int:
        """Prepare both; returns the number of parameters."""
        raise NotImplementedError


class TinyCNN(Contender):
    """Ours."""

    def __init__(self) -> None:
        import numpy as np

        import tinycnn as tc
        tc.nn.functional.relu(tc.Tensor(np.zeros(1, np.float32)))      # imports the kernels
        self._tc, self._np = tc, np

    def build(self, model: str, shape: list[int]) -> int:
        """Prepare both; the images are channels-last in memory."""
        tc, np = self._tc, self._np
        tc.manual_seed(0)
        self._model = tinycnn_net(model)
        optimizer = tc.optim.SGD(self._model.parameters(), lr=1e-3, momentum=0.9)
        rng = np.random.default_rng(0)
        N, C, H, W = shape
        self._x = tc.Tensor(rng.standard_normal((N, H, W, C), np.float32).transpose(0, 3, 1, 2))
        labels = rng.integers(0, 10, N)

        def step():
            optimizer.zero_grad()
            loss = tc.nn.functional.cross_entropy(self._model(self._x), labels)
            loss.backward()
            optimizer.step()
            return loss.item()
        self._step = step
        return sum(p.numel() for p in self._model.parameters())

    def evaluate(self) -> None:
        """From training to inference."""
        self._model.eval()
        model = self._model.fuse() if hasattr(self._model, "fuse") else self._model

        def answer():
            with self._tc.no_grad():
                return model(self._x)
        self._answer = answer

    def macs(self, model: str, shape: list[int]) -> int:
        """Multiply-adds of a forward pass."""
        return self._tc.summary.summary(tinycnn_net(model), tuple(shape)).macs


class Torch(Contender):
    """PyTorch, eager."""

    def __init__(self, channels_last: bool):
        import torch
        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
        self._torch = torch
        self._layout = torch.channels_last if channels_last else torch.contiguous_format

    def build(self, model: str, shape: list[int]) -> int:
        """Prepare both; weights and images in this contender's memory layout."""
        torch = self._torch
        torch.manual_seed(0)
        self._model = torch_net(model).to(memory_format=self._layout)
        optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-3, momentum=0.9)
        self._x = torch.randn(shape).to(memory_format=self._layout)
        labels = torch.randint(0, 10, shape[:1])

        def step():
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self._model(self._x), labels)
            loss.backward()
            optimizer.step()
            return loss.item()
        self._step = step
        return sum(p.numel() for p in self._model.parameters())

    def evaluate(self) -> None:
        """From training to inference."""
        self._model.eval()

        def answer():
            with self._torch.no_grad():
                return self._model(self._x)
        self._answer = answer


def work(name: str) -> None:
    """A worker: requests are the names of a contender's methods, with their arguments."""
    contender = TinyCNN() if name == "tinycnn" else Torch(name == "torch channels-last")
    serve(lambda request: getattr(contender, request[0])(*request[1:]))


def start(name: str, threads: int) -> Worker:
    """A fresh process of a contender."""
    return Worker("benchmarks.train_step", name, threads)


def compare(net: str, names: tuple[str, ...], seconds: float, threads: int) -> list[dict]:
    """The rows of a net, one for each mode and contender.  Raises RuntimeError if the models differ."""
    model, shape = NETS[net]
    with start("tinycnn", threads) as worker:        # compiles what Numba's cache has not
        worker.ask(["start", model, shape])
        macs = worker.ask(["macs", model, shape])
    workers = [start(name, threads) for name in names]
    begun = {w.name: w.ask(["start", model, shape]) for w in workers}
    counts = {name: b["parameters"] for name, b in begun.items()}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"{net}: the contenders' models differ: parameters {counts}")
    times = {"training": in_turns(workers, ["train", seconds / ROUNDS], ROUNDS)}
    for worker in workers:
        worker.ask(["evaluate"])
    times["inference"] = in_turns(workers, ["infer", seconds / 2 / ROUNDS], ROUNDS)
    for worker in workers:
        worker.close()
    return [{"net": net, "mode": mode, "contender": name, "macs": macs, **summarised(times[mode][name]),
             **(begun[name] if mode == "training" else {})} for mode in MODES for name in names]


def ratio(rows: list[dict]) -> float | None:
    """tinycnn's median to the better PyTorch's, of a net's rows in one mode; None without PyTorch."""
    medians = {row["contender"]: row["median"] for row in rows}
    ours = medians.pop("tinycnn")
    return ours / min(medians.values()) if medians else None


HEADING = (f"{'net':18} {'mode':10} {'contender':19} {'ms':>8} {'quartiles':>17}   {'best':>8} {'GFLOP/s':>8} "
           f"{'peak':>7} {'first':>6} {'ratio':>6}")


def line(row: dict, relative: float | None) -> str:
    """A row as text."""
    low, high = row["quartiles"]
    rate = 2 * MODES[row["mode"]] * row["macs"] / row["median"] / 1e6
    start = f"{row['peak']:7.0f} {row['first']:6.2f}" if "peak" in row else f"{'':14}"
    return (f"{row['net']:18} {row['mode']:10} {row['contender']:19} {row['median']:8.1f} {low:8.1f}-{high:<8.1f} "
            f"{'?' if unsteady(row) else ' '} {row['best']:8.1f} {rate:8.1f} {start} "
            f"{f'{relative:6.2f}' if relative else ''}").rstrip()


def main(argv: list[str] | None = None) -> None:
    """Run the comparison and print the table."""
    options = parser(__doc__, seconds=8)
    options.add_argument("--nets", default="*", metavar="PATTERN", help=f"of {', '.join(NETS)}")
    args = options.parse_args(argv)
    if args.worker:
        return work(args.worker)
    nets = [net for net in NETS if fnmatch(net, args.nets)]
    if not nets:
        options.error(f"no net is called {args.nets!r}: choose from {', '.join(NETS)}")
    names = CONTENDERS if installed("torch") else CONTENDERS[:1]
    report = Report("training step and inference", args.threads)
    report.numbers["rows"] = rows = []
    if len(names) == 1:
        report.say("# PyTorch is not installed: no ratio")
    report.say(HEADING)
    ratios: dict[str, list[float]] = {mode: [] for mode in MODES}
    for net in nets:
        found = compare(net, names, args.seconds, args.threads)
        rows += found
        for mode in MODES:
            of_mode = [row for row in found if row["mode"] == mode]
            relative = ratio(of_mode)
            ratios[mode] += [relative] if relative else []
            report.say(*(line(row, relative if row["contender"] == "tinycnn" else None) for row in of_mode))
    for mode, values in ratios.items():
        if values:
            report.say(f"{mode}: geometric mean of the ratio over {len(values)} nets {geometric_mean(values):.2f}, "
                       f"worst {max(values):.2f}")
    report.write(args.out, args.json)


if __name__ == "__main__":
    sys.exit(main())
