"""Fixtures of the container tests; `train_image` is the real thing."""

from tests.containers.train_image import train_image  # noqa: F401
