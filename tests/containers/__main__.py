"""Builds the images that the tests run in, before them and in sight: `python -m tests.containers`."""

from __future__ import annotations

import sys

from containers.order import Order
from stair.console import run_command, show
from tests.containers.baked import bake_if_needed
from tests.containers.eval_image import eval_order


def main() -> int:
    for order in (Order(variant="cpu"), eval_order()):
        show(f"{order.kind} image: {bake_if_needed(order).path.name} is there")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
