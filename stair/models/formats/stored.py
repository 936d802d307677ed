"""One tensor of a file: what it is, and how to get it.

Takes a file's own description, hands on shape, dtype and a way to read. Nothing is read before it is asked
for, so that a 30 GB checkpoint can be judged by its headers and copied tensor by tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stored:
    """A tensor that need not be in memory."""

    shape: tuple[int, ...]
    dtype: str
    """As torch calls it: float32, bfloat16, …"""
    read: Callable[[], Tensor]
    """The tensor on the CPU; it may be a view of the mapped file, so it is to be copied, not changed."""

    @staticmethod
    def of(tensor: Tensor) -> Stored:
        """A tensor that is at hand already."""
        return Stored(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), lambda: tensor)

    @property
    def count(self) -> int:
        """Its number of values."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Its number of bytes."""
        return self.count * getattr(torch, self.dtype).itemsize

    def cast(self, dtype: str) -> Stored:
        """The same tensor in another dtype, converted when read."""
        if dtype == self.dtype:
            return self
        return Stored(self.shape, dtype, lambda: self.read().to(getattr(torch, dtype)))


def part_of(key: str) -> str:
    """The part a key belongs to: what stands before its first dot."""
    return key.split(".", 1)[0]


def parts_of(tensors: Mapping[str, Stored]) -> tuple[str, ...]:
    """The parts that some tensors belong to, in the order of their first appearance."""
    return tuple(dict.fromkeys(part_of(key) for key in tensors))
