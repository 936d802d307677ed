"""The real evaluation image as a fixture: build/stair-eval.sif where it is there, of the same locks.

Otherwise build/stair-eval-ms3.sif, which is built where it is missing too: ManiSkill's half takes a third
less. For tests that need it: `from tests.containers.eval_image import eval_image` in a conftest.
"""

from __future__ import annotations

import pytest

from containers.order import Order
from tests.containers.baked import BakedImage, baked_image, is_there

EvalImage = BakedImage
FULL, MS3 = Order(variant="full"), Order(variant="ms3")


@pytest.fixture(scope="session")
def eval_image() -> EvalImage:
    """Skips with the reason where there is no Apptainer or the image cannot be built."""
    return baked_image(eval_order())


def eval_order() -> Order:
    """Of the image that evaluations are tested in."""
    return FULL if is_there(FULL) else MS3
