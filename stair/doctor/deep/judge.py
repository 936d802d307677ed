"""The checks of this room, in the order of cause: what is wrong is an error, what is slow a warning.

They read `deep` of a host's facts, which measure.py made; without it nothing was asked and nothing is said.
What could not be measured is `unknown`, with the reason.
"""

from __future__ import annotations

from stair.doctor.deep.judge_draw import judge_draw
from stair.doctor.deep.judge_rates import judge_copy, judge_matmul
from stair.doctor.deep.judge_start import judge_container_start
from stair.doctor.deep.judge_sum import judge_all_reduce
from stair.doctor.finding import Check

BELOW = ("driver.", "gpu.", "apptainer.", "image.", "deep.container-start")
"""What everything here stands on."""

CHECKS: tuple[Check, ...] = (
    Check(
        "deep.container-start",
        "how long images take to start (--deep)",
        judge_container_start,
        because=("apptainer.", "image."),
        where="host",
    ),
    Check(
        "deep.draw",
        "a real picture per GPU and SAPIEN (--deep)",
        judge_draw,
        because=(*BELOW, "libraries.", "egl.", "vulkan.", "packages."),
    ),
    Check(
        "deep.matmul",
        "matrix products per GPU: right, and as fast as its model (--deep)",
        judge_matmul,
        because=(*BELOW, "cuda.", "packages."),
    ),
    Check(
        "deep.copy",
        "memory and PCI Express rates per GPU (--deep)",
        judge_copy,
        because=("driver.", "gpu."),
    ),
    Check(
        "deep.all-reduce",
        "a sum between two nodes: right, and as fast as the network (--deep)",
        judge_all_reduce,
        because=(*BELOW, "network.", "cuda."),
        where="host",
    ),
)
