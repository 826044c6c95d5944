"""How fast is each kernel, against what the machine can do and beside PyTorch?

    python -m benchmarks.kernels [PATTERN] [--seconds 0.5] [--threads 2] [--out FILE] [--json FILE]

Every kernel on the shapes of the nets, float32, in processes of their own that take turns: tinycnn, and PyTorch in
both of its memory layouts (left out where it is not installed).

    ms         median of tinycnn; "?" where its quartiles are more than 15 % of the median apart
    GFLOP/s    for kernels that multiply; Winograd's are counted as the convolution's they replace
    GB/s       bytes that must be read and written, each once (what must be known before it is used: twice)
    limit      how much of the limit that is: the longer of the FLOPs' time at the rate of the best matrix product, and
               the bytes' at the rate of the best copy of as many bytes, both on all threads, measured in the same run.
               Winograd needs fewer FLOPs and can go beyond
    torch      medians of PyTorch's layouts, NCHW and channels-last
    ratio      tinycnn's median to the better one
"""
from __future__ import annotations

import sys
from fnmatch import fnmatch

from .kernel_table import Kernel, kernels
from .timing import Report, Worker, geometric_mean, in_turns, installed, parser, sample, serve, summarised, unsteady

CONTENDERS = ("tinycnn", "torch", "torch channels-last")
ROUNDS = 3
SMALLEST = 1 << 14                                   # numbers of a copy that is timed for a limit


def work(name: str) -> None:
    """A worker: makes a row's call, times it, or measures a limit."""
    if name == "tinycnn":
        from .kernel_calls import TinyCNN
        contender = TinyCNN()
    else:
        from .kernel_calls_torch import Torch
        contender = Torch(name == "torch channels-last")
    call = None

    def answer(request):
        nonlocal call
        method, *args = request
        if method == "time":
            return sample(call, *args, least=2, warmups=1)
        if method.endswith("_rate"):
            return getattr(contender, method)(*args)
        call = None                                  # the last row's arrays go first
        call = getattr(contender, method)(*args)
        call()
        return None
    serve(answer)


class Limits:
    """The machine's rates, of the best contender: FLOPs per second, and bytes by the size of a copy."""

    def __init__(self, workers: list[Worker], seconds: float):
        self._workers, self._seconds = workers, seconds
        self.product = max(worker.ask(["product_rate", 2 * seconds]) for worker in workers)
        self.copies: dict[int, float] = {}

    def copy(self, size: int) -> float:
        """Bytes per second of a copy that reads and writes about `size` bytes."""
        count = max(SMALLEST, 1 << (size // 8 - 1).bit_length())
        if count not in self.copies:
            self.copies[count] = max(worker.ask(["copy_rate", count, self._seconds]) for worker in self._workers)
        return self.copies[count]

    def of(self, kernel: Kernel) -> float:
        """Milliseconds that a kernel cannot be faster than."""
        return 1e3 * max(kernel.flops / self.product, kernel.bytes / self.copy(kernel.bytes))


def measure(kernel: Kernel, workers: list[Worker], limits: Limits, seconds: float) -> dict:
    """A row of the results."""
    for worker in workers:
        worker.ask([kernel.method, *kernel.args])
    times = in_turns(workers, ["time", seconds / ROUNDS], ROUNDS)
    found = {name: summarised(t) for name, t in times.items()}
    rivals = [t["median"] for name, t in found.items() if name != "tinycnn"]
    return {"kernel": kernel.name, "flops": kernel.flops, "bytes": kernel.bytes,
            "limit": float(f"{limits.of(kernel):.4g}"), **found,
            **({"ratio": round(found["tinycnn"]["median"] / min(rivals), 3)} if rivals else {})}


def heading(names: tuple[str, ...]) -> str:
    """Above the rows."""
    rivals = f" {'torch':>8} {'ch.-last':>8} {'ratio':>6}" if len(names) > 1 else ""
    return f"{'kernel':40} {'ms':>8}   {'quartiles':>15} {'GFLOP/s':>8} {'GB/s':>6} {'limit':>6}{rivals}"


def line(row: dict) -> str:
    """A row as text."""
    ours = row["tinycnn"]
    low, high = ours["quartiles"]
    rate = f"{row['flops'] / ours['median'] / 1e6:8.1f}" if row["flops"] else f"{'':8}"
    text = (f"{row['kernel']:40} {ours['median']:8.3f} {'?' if unsteady(ours) else ' '} {low:7.3f}-{high:<7.3f} {rate} "
            f"{row['bytes'] / ours['median'] / 1e6:6.1f} {row['limit'] / ours['median']:6.0%}")
    if "ratio" in row:
        text += f" {row['torch']['median']:8.3f} {row['torch channels-last']['median']:8.3f} {row['ratio']:6.2f}"
    return text


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__, seconds=0.5)
    options.add_argument("pattern", nargs="?", default="*", help="only kernels whose name matches")
    args = options.parse_args(argv)
    if args.worker:
        return work(args.worker)
    rows = [kernel for kernel in kernels() if fnmatch(kernel.name, args.pattern)]
    if not rows:
        options.error(f"no kernel's name matches {args.pattern!r}")
    names = CONTENDERS if installed("torch") else CONTENDERS[:1]
    report = Report("kernels", args.threads)
    workers = [Worker("benchmarks.kernels", name, args.threads) for name in names]
    limits = Limits(workers, args.seconds / 2)
    report.say(f"# best matrix product {limits.product / 1e9:.0f} GFLOP/s",
               *(["# PyTorch is not installed: tinycnn alone"] if len(names) == 1 else []), heading(names))
    report.numbers["rows"] = found = []
    for kernel in rows:
        found.append(measure(kernel, workers, limits, args.seconds))
        report.say(line(found[-1]))
    for worker in workers:
        worker.close()
    report.say("# best copy, GB/s: " + ", ".join(f"{8 * count / 2 ** 20:.3g} MiB {rate / 1e9:.0f}"
                                                  for count, rate in sorted(limits.copies.items())))
    report.numbers |= {"product_rate": limits.product, "copy_rates": limits.copies}
    if "ratio" in found[0]:
        report.say(f"ratio: geometric mean over {len(found)} kernels {geometric_mean(r['ratio'] for r in found):.2f}")
    report.write(args.out, args.json)


if __name__ == "__main__":
    sys.exit(main())
