"""Batches of a data set, in a random order that a seed decides, prepared ahead by threads.

The order of an epoch is a function of (seed, epoch), the random changes of a batch one of (seed, epoch, batch): so
the batches are the same for any number of threads, and a loader can go on from any position.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np

from ..backend import known, prefetched


class DataLoader:
    """Iterate over `dataset` once per `for` loop, in batches (images, labels) of arrays.

    dataset      a Dataset, or any sequence of (image, label)
    batch_size   images per batch; the last may be smaller, or is left out with drop_last
    shuffle      a new order every epoch, from `seed`
    num_workers  threads that prepare batches ahead; 0: none, each batch is made when it is asked for
    prefetch_factor  how many batches each of them is ahead
    device       where the arrays are: "cpu" gives NumPy's; to a GPU a batch is copied while the one before is used
    shard        (rank, ranks): of the epoch's order, the same in all processes, only every ranks-th image from number
                 rank on.  For all to have as many, some images come twice, or are left out with drop_last

    Each loop is an epoch, also one that is left early.  state_dict() between two batches is the exact position: the
    first loop after load_state_dict() goes on with the next batch.  An error in a thread is raised in the loop.
    Raises TypeError for what is no sequence of pairs, ValueError for an empty one and for options out of range.
    As torch.utils.data.DataLoader, with shard as torch.utils.data.DistributedSampler.

    >>> loader = DataLoader([(np.zeros(2), i) for i in range(5)], batch_size=2)
    >>> [labels.tolist() for images, labels in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, dataset: Any, batch_size: int = 1, shuffle: bool = False, num_workers: int = 1,
                 drop_last: bool = False, prefetch_factor: int = 2, seed: int = 0, device: str = "cpu",
                 shard: tuple[int, int] = (0, 1)):
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise TypeError(f"DataLoader: dataset must be a Dataset or a sequence of (image, label), got "
                            f"{type(dataset).__name__}; list(...) makes one of an iterator")
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0),
                                   ("prefetch_factor", prefetch_factor, 1), ("seed", seed, 0)):
            if not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"DataLoader: {name} must be an integer of at least {least}, got {value!r}")
        if not len(dataset):
            raise ValueError("DataLoader: the data set is empty")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, int(batch_size), shuffle, drop_last
        self.num_workers, self.prefetch_factor, self.seed = int(num_workers), int(prefetch_factor), int(seed)
        self.device, (self.rank, self.ranks) = known(device), _checked(shard, len(dataset), drop_last)
        self.set_epoch(0)

    def __len__(self) -> int:
        """How many batches an epoch has."""
        n = self._images()
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def _images(self):
        """How many there are for each rank."""
        return len(self.dataset) // self.ranks if self.drop_last else -(-len(self.dataset) // self.ranks)

    def set_epoch(self, epoch: int) -> None:
        """Let the next loop be this epoch, from its beginning."""
        self.epoch, self.position = epoch, 0         # position: batches of the epoch that were handed out
        self._goes_on = False                        # whether the next loop begins at the position

    def state_dict(self) -> dict[str, int]:
        """The position: epoch, batches handed out, seed."""
        return {"epoch": self.epoch, "position": self.position, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from a position of a loader over the same data with the same batch size.

        Raises ValueError for what state_dict() cannot have given.
        """
        if set(state_dict) != set(self.state_dict()):
            raise ValueError(f"DataLoader.load_state_dict: expected epoch, position and seed, got "
                             f"{', '.join(map(str, state_dict)) or 'nothing'}: pass what state_dict() gave")
        if not 0 <= state_dict["position"] <= len(self):
            raise ValueError(f"DataLoader.load_state_dict: position {state_dict['position']} in an epoch of "
                             f"{len(self)} batches: use the batch size and the data that the state was taken with")
        self.epoch, self.position, self.seed = (int(state_dict[k]) for k in ("epoch", "position", "seed"))
        self._goes_on = True

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if self.position and (not self._goes_on or self.position == len(self)):      # that epoch is over
            self.set_epoch(self.epoch + 1)
        self._goes_on = False
        epoch, first = self.epoch, self.position
        with closing(self._batches(epoch, first)) as made, closing(prefetched(made, self.device)) as batches:
            for position, batch in enumerate(batches, first + 1):
                self.position = position             # before the batch is handed out: a state taken with it is past it
                yield batch
        self.set_epoch(epoch + 1)

    def _batches(self, epoch, first):
        """The batches of an epoch from the first on; threads, if any, begin them while earlier ones are used."""
        n = len(self.dataset)
        order = np.random.default_rng((self.seed, epoch)).permutation(n) if self.shuffle else np.arange(n)
        order = np.resize(order, self._images() * self.ranks)[self.rank::self.ranks]      # repeated at its end
        jobs = ((order[b * self.batch_size:(b + 1) * self.batch_size], (self.seed, epoch, b * self.ranks + self.rank))
                for b in range(first, len(self)))
        if not self.num_workers:
            yield from (self._batch(*job) for job in jobs)
            return
        pool, waiting = ThreadPoolExecutor(self.num_workers, thread_name_prefix="tinycnn-loader"), deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(self._batch, *job))
                if len(waiting) > self.num_workers * self.prefetch_factor:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:                                     # also when the loop is left early
            pool.shutdown(wait=True, cancel_futures=True)

    def _batch(self, indices, seed):
        """The images and labels at the indices; seed is that of their random changes."""
        if hasattr(self.dataset, "batch"):
            return self.dataset.batch(indices, np.random.default_rng(seed))
        return _stacked([self.dataset[int(i)] for i in indices])


def _checked(shard, images, drop_last):
    """(rank, ranks) of a shard."""
    if (not isinstance(shard, (tuple, list)) or len(shard) != 2
            or not all(isinstance(v, (int, np.integer)) for v in shard) or not 0 <= shard[0] < shard[1]):
        raise ValueError(f"DataLoader: shard must be (rank, ranks) with 0 <= rank < ranks, got {shard!r}")
    if drop_last and images < shard[1]:
        raise ValueError(f"DataLoader: {images} images are fewer than {shard[1]} ranks: with drop_last none has any")
    return int(shard[0]), int(shard[1])


def _stacked(pairs):
    """(image, label) pairs as an array of each."""
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"DataLoader: dataset[i] must be a pair (image, label), got {type(pair).__name__}"
                            + (f" of {len(pair)}" if isinstance(pair, (tuple, list)) else ""))
    images, labels = ([np.asarray(part) for part in parts] for parts in zip(*pairs))
    if len(shapes := sorted({image.shape for image in images})) > 1:
        raise ValueError(f"DataLoader: the images of a batch must have one shape, got "
                         f"{' and '.join(map(str, shapes))}: resize them (transforms.Resize), or use batch_size=1")
    return np.stack(images), np.stack(labels)
