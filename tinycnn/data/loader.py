"""Batches of a data set, in a random order that a seed decides, prepared ahead by threads.

The order of an epoch is a function of (seed, epoch), the random changes of a batch one of (seed, epoch, batch): so
the batches are the same for any number of threads, and a loader can go on from any position.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


class DataLoader:
    """Iterate over `dataset` once per `for` loop, in batches (images, labels) of NumPy arrays.

    dataset      a Dataset, or any sequence of (image, label)
    batch_size   images per batch; the last may be smaller, or is left out with drop_last
    shuffle      a new order every epoch, from `seed`
    num_workers  threads that prepare batches ahead; 0: none, each batch is made when it is asked for
    prefetch_factor  how many batches each of them is ahead

    Each loop is an epoch.  state_dict() between two batches is the exact position: a loop after load_state_dict()
    goes on with the next batch.  An error in a thread is raised in the loop.  As torch.utils.data.DataLoader.

    >>> loader = DataLoader([(np.zeros(2), i) for i in range(5)], batch_size=2)
    >>> [labels.tolist() for images, labels in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, dataset: Any, batch_size: int = 1, shuffle: bool = False, num_workers: int = 1,
                 drop_last: bool = False, prefetch_factor: int = 2, seed: int = 0):
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be a positive integer, got {batch_size!r}")
        if num_workers < 0 or prefetch_factor < 1 or seed < 0:
            raise ValueError(f"DataLoader: num_workers={num_workers} and seed={seed} must not be negative, "
                             f"prefetch_factor={prefetch_factor} at least 1")
        if not len(dataset):
            raise ValueError("DataLoader: the data set is empty")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, int(batch_size), shuffle, drop_last
        self.num_workers, self.prefetch_factor, self.seed = num_workers, prefetch_factor, seed
        self.epoch, self.position = 0, 0             # batches of this epoch that were handed out

    def __len__(self) -> int:
        """How many batches an epoch has."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Let the next loop be this epoch, from its beginning."""
        self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """The position: epoch, batches handed out, seed."""
        return {"epoch": self.epoch, "position": self.position, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from a position of a loader over the same data with the same batch size."""
        self.epoch, self.position, self.seed = (state_dict[k] for k in ("epoch", "position", "seed"))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self.position >= len(self):               # the position was taken after an epoch's last batch
            self.epoch, self.position = self.epoch + 1, 0
        order = self._order()
        made = self._ahead(order) if self.num_workers else map(lambda b: self._batch(order, b),
                                                               range(self.position, len(self)))
        for batch in made:
            self.position += 1
            yield batch
        self.epoch, self.position = self.epoch + 1, 0

    def _order(self):
        n = len(self.dataset)
        return np.random.default_rng((self.seed, self.epoch)).permutation(n) if self.shuffle else np.arange(n)

    def _ahead(self, order):
        """The batches in order, each begun by a thread while earlier ones are used."""
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="tinycnn-loader")
        waiting, todo = deque(), iter(range(self.position, len(self)))
        try:
            for b in todo:
                waiting.append(pool.submit(self._batch, order, b))
                if len(waiting) > self.num_workers * self.prefetch_factor:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:                                     # also when the loop is left early
            pool.shutdown(wait=True, cancel_futures=True)

    def _batch(self, order, b):
        """Batch b of the epoch."""
        indices = order[b * self.batch_size:(b + 1) * self.batch_size]
        if hasattr(self.dataset, "batch"):
            return self.dataset.batch(indices, np.random.default_rng((self.seed, self.epoch, b)))
        images, labels = zip(*(self.dataset[int(i)] for i in indices))
        return np.stack([np.asarray(image) for image in images]), np.asarray(labels)
