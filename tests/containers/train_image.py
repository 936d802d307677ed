"""The real cpu image as a fixture: build/stair-train-cpu.sif, built where it is missing or of other locks.

For tests that need it: `from tests.containers.train_image import train_image` in a conftest.
"""

from __future__ import annotations

import pytest

from containers.order import Order
from tests.containers.baked import BakedImage, baked_image

TrainImage = BakedImage


@pytest.fixture(scope="session")
def train_image() -> TrainImage:
    """Skips with the reason where there is no Apptainer or the image cannot be built."""
    return baked_image(Order(variant="cpu"))
