"""`python -m stair.doctor` is stair-doctor."""

from stair.doctor.cli import entry

raise SystemExit(entry())
