"""The real cluster and the real image, for the line that needs them."""

from tests.containers.train_image import train_image  # noqa: F401
from tests.slurm.conftest import apptainer, one_file_at_a_time, slurm, tidy_afterwards  # noqa: F401
