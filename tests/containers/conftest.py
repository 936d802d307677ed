"""Fixtures of the container tests; `train_image` and `eval_image` are the real thing."""

from tests.containers.eval_image import eval_image  # noqa: F401
from tests.containers.train_image import train_image  # noqa: F401
