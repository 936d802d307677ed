"""The real cpu image as a fixture: build/stair-train-cpu.sif, built where it is missing or of other locks.

For tests that need it: `from tests.containers.train_image import train_image` in a conftest.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from containers.bake import CHECKOUT, bake
from containers.machine import find_apptainer
from containers.order import Order, lock_digest
from stair.cluster.image import inspect_image
from stair.errors import StairError


@dataclass(frozen=True)
class TrainImage:
    """The image, and the Apptainer that runs it."""

    path: Path
    apptainer: Path


@pytest.fixture(scope="session")
def train_image() -> TrainImage:
    """Skips with the reason where there is no Apptainer or the image cannot be built."""
    base = "debian" if shutil.which("mmdebstrap") and shutil.which("apt-get") else "registry"
    output = CHECKOUT / "build" / "stair-train-cpu.sif"
    order = Order(variant="cpu", base=base, output=output, force=True)
    try:
        apptainer = find_apptainer(os.environ)
        with alone(CHECKOUT / "build" / ".train-image.lock"):
            if inspect_image(output).labels.get("stair.lock_sha256") != lock_digest(order):
                bake(order, os.environ)
    except StairError as error:
        pytest.skip(f"no train image: {error}")
    return TrainImage(output, apptainer)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process of the machine at a time: the workers of pytest-xdist wait for the first one's build."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
