"""The order in which a run sees its samples: a true shuffle of everything that costs no memory.

Takes positions 0, 1, 2, ... of a run, hands on data sets and sample numbers. Any position is computed on
its own, so a run resumes anywhere at once, and any number of processes agree. The surprise: the shuffle is
a cipher. A Feistel network permutes a power of four, and numbers beyond the end are enciphered again until
they fall inside (cycle walking, Black & Rogaway 2002), which leaves a permutation of exactly n numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Balance = Literal["openvla", "starvla"]
ROUNDS = 6


def mix(values: np.ndarray) -> np.ndarray:
    """Scrambles uint64 [...] (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def digest(*numbers: np.ndarray | int) -> np.ndarray:
    """One well-mixed uint64 of several integers, elementwise over arrays."""
    state = np.zeros(1, np.uint64)
    for number in numbers:
        word = np.atleast_1d(np.asarray(number)).astype(np.int64).view(np.uint64)
        state = mix(state + np.uint64(0x9E3779B97F4A7C15) + word)
    return state


def uniforms(seed: int, positions: np.ndarray, count: int) -> np.ndarray:
    """float64 [B, count] in [0, 1), the same for a (seed, position) whoever asks and in whatever batch."""
    columns = np.arange(count, dtype=np.int64)
    bits = digest(seed, np.asarray(positions, np.int64)[:, None], columns[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Permutation:
    """A shuffle of 0 ... n-1, one of many; which one is told by `key`."""

    def __init__(self, n: int, *key: int) -> None:
        self.n = n
        self.half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
        self.low = (np.uint64(1) << self.half) - np.uint64(1)
        self.keys = digest(*key, np.arange(ROUNDS))

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """Where each number (int64 [B], in range) goes, int64 [B]."""
        result = self._encipher(np.asarray(numbers).astype(np.uint64))
        beyond = np.flatnonzero(result >= self.n)
        while len(beyond):
            result[beyond] = self._encipher(result[beyond])
            beyond = beyond[result[beyond] >= self.n]
        return result.astype(np.int64)

    def _encipher(self, numbers: np.ndarray) -> np.ndarray:
        left, right = numbers >> self.half, numbers & self.low
        for key in self.keys:
            left, right = right, left ^ (mix(right + key) & self.low)
        return left << self.half | right


class Order:
    """A mixture's order over all epochs.

    In an epoch of `length` positions data set i gets exactly counts[i]; it is read through completely
    before any of its samples comes again, over epochs of its own.
    """

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[float], seed: int, balance: Balance = "openvla"
    ) -> None:
        self.sizes = np.array(sizes, np.int64)
        self.counts = epoch_counts(sizes, weights, balance)
        self.ends = np.cumsum(self.counts)
        self.length = int(self.ends[-1])
        self.seed = seed

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Data set number and sample number within it of each position, int64 [B] each."""
        positions = np.asarray(positions, np.int64)
        epochs, inside = np.divmod(positions, self.length)
        if len(self.sizes) == 1:
            return np.zeros_like(positions), self._shuffled(inside, epochs, self.length, 0)
        inside = self._shuffled(inside, epochs, self.length, -1)
        parts = np.searchsorted(self.ends, inside, side="right")
        # How many samples of its data set came before, over all epochs.
        drawn = epochs * self.counts[parts] + inside - (self.ends - self.counts)[parts]
        samples = np.empty_like(drawn)
        for part in np.unique(parts):
            mine = parts == part
            size = int(self.sizes[part])
            rounds, numbers = np.divmod(drawn[mine], size)
            samples[mine] = self._shuffled(numbers, rounds, size, int(part))
        return parts, samples

    def _shuffled(self, numbers: np.ndarray, epochs: np.ndarray, n: int, stream: int) -> np.ndarray:
        first = epochs[0] if len(epochs) else 0
        if (epochs == first).all():  # nearly always: a batch rarely lies across the turn of an epoch
            return Permutation(n, self.seed, stream, int(first))(numbers)
        result = np.empty_like(numbers)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            result[mine] = Permutation(n, self.seed, stream, int(epoch))(numbers[mine])
        return result


def mixture_shares(
    sizes: Sequence[int], weights: Sequence[float], balance: Balance = "openvla"
) -> np.ndarray:
    """How likely a sample of each data set is, float64, sum 1.

    openvla: weights times sizes (`make_interleaved_dataset`, balance_weights); bridge_rt_1 is 36 : 64.
    starvla: weights as they stand; bridge_rt_1 is half and half.
    """
    shares = np.array(weights, np.float64)
    if balance == "openvla":
        shares *= np.array(sizes, np.float64)
    return shares / shares.sum()


def epoch_counts(sizes: Sequence[int], weights: Sequence[float], balance: Balance = "openvla") -> np.ndarray:
    """How many samples of each data set an epoch holds, int64.

    An epoch is as long as it takes until every data set whose weight is 1 has been seen whole, as OpenVLA
    and StarVLA count it; without such a one, where OpenVLA fails, until every data set has. bridge_rt_1 has
    5,921,863 with OpenVLA's balance.
    """
    shares = mixture_shares(sizes, weights, balance)
    lengths = [
        size / share for size, share, weight in zip(sizes, shares, weights, strict=True) if weight == 1.0
    ]
    length = max(lengths) if lengths else max(np.array(sizes) / shares)
    return np.maximum(1, np.rint(length * shares)).astype(np.int64)


NEIGHBOURS = 4
"""Consecutive episodes that are held out together: as many as a tabletop layout has goals."""


def held_out_episodes(numbers: np.ndarray, share: float) -> np.ndarray:
    """bool [E]: which of the episodes with these numbers are kept for validation, whatever the run's seed.

    Exactly the share, rounded, but at least one when a share is asked for; chosen by a hash of the
    episode's number so that a larger share contains a smaller one. Neighbours, which may show the same
    scene, are held out together.
    """
    held = np.zeros(len(numbers), bool)
    if share > 0:
        count = max(1, round(share * len(numbers)))
        held[np.argsort(digest(2026, numbers // NEIGHBOURS), kind="stable")[:count]] = True
    return held
