"""Stands in for ManiSkill2_real2sim: looks for its data folder once, on being imported, as that does."""

import os
from pathlib import Path

ASSET_DIR = Path(os.environ.get("MS2_REAL2SIM_ASSET_DIR", "data"))
