"""Success rates of SIMPLER's policies on the real robot and in the simulator; plain values.

Source: Li et al. 2024, "Evaluating Real-World Robot Manipulation Policies in Simulation" (arXiv
2405.05941), visual matching, as listed in the project's tables and in its tools/calc_metrics.py; success at
the last step. Real trials per policy: 25 per orientation of the can, 60 for moving near, 27 for opening, for
closing and for the apple, 24 for each WidowX task.
"""

from __future__ import annotations

GOOGLE_POLICIES = ("rt-2-x", "rt-1-converged", "rt-1-15pct", "rt-1-x", "rt-1-begin", "octo-base")
WIDOWX_POLICIES = ("rt-1-x", "octo-base", "octo-small")

_GOOGLE = {
    "google_robot_pick_coke_can": (
        (0.907, 0.853, 0.920, 0.760, 0.133, 0.293),
        (0.787, 0.857, 0.710, 0.567, 0.027, 0.170),
    ),
    "google_robot_move_near": (
        (0.733, 0.633, 0.583, 0.450, 0.017, 0.350),
        (0.779, 0.442, 0.354, 0.317, 0.050, 0.042),
    ),
    "google_robot_open_drawer": (
        (0.333, 0.815, 0.704, 0.519, 0.0, 0.148),
        (0.157, 0.601, 0.463, 0.296, 0.0, 0.009),
    ),
    "google_robot_close_drawer": (
        (0.630, 0.926, 0.889, 0.741, 0.0, 0.519),
        (0.343, 0.861, 0.667, 0.891, 0.278, 0.444),
    ),
    "google_robot_place_apple_in_closed_top_drawer": (
        (0.074, 0.185, 0.185, 0.407, 0.0, 0.0),
        (0.037, 0.065, 0.130, 0.213, 0.0, 0.0),
    ),
}
_WIDOWX = {
    "widowx_spoon_on_towel": ((0.0, 0.333, 0.417), (0.0, 0.125, 0.472)),
    "widowx_carrot_on_plate": ((0.0, 0.250, 0.083), (0.042, 0.083, 0.097)),
    "widowx_stack_cube": ((0.0, 0.0, 0.125), (0.0, 0.0, 0.042)),
    "widowx_put_eggplant_in_basket": ((0.0, 0.250, 0.400), (0.0, 0.431, 0.569)),
}


def _by_policy(
    policies: tuple[str, ...], tables: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
) -> dict[str, dict[str, tuple[float, float]]]:
    return {
        task: {policy: (real, simulated) for policy, real, simulated in zip(policies, *columns, strict=True)}
        for task, columns in tables.items()
    }


PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    **_by_policy(GOOGLE_POLICIES, _GOOGLE),
    **_by_policy(WIDOWX_POLICIES, _WIDOWX),
}
"""Task → policy → (real, simulated) success rate as a share of one."""
