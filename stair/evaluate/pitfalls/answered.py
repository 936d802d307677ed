"""Pitfalls that show in a policy's first answers, one function each.

Takes the Answers, hands on Findings; ANSWERED holds them all, in groups. The surprise: thresholds are wide,
so that an untrained policy, whose actions are noise of the training data's size, passes as healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stair.evaluate.pitfalls.evidence import Answers, Finding

FAR_M = 0.3
"""Nobody moves an arm so far in one step: at 3 Hz it is about one metre a second. BridgeV2's and Fractal's
q99 are 0.04 and 0.22 m."""
FAR_RAD = 1.0
"""The same for a turn; their q99 are 0.2 and 0.6 rad."""
BEYOND, OUTSIDE = 1.5, 0.35
"""This share of motions is so many times as large as the training data's q01 and q99. Of data itself it is
one in a hundred, of an untrained policy's noise 0.13, of motions by Fractal's where BridgeV2's belong 0.5."""
INSIDE = 0.08
"""Median size of motions in those of q01 and q99; of data it is 0.3."""


def not_a_number(of: Answers) -> list[Finding]:
    every = (of.first, of.again, *of.seeds, of.other_image, of.other_words)
    if all(np.isfinite(answer).all() for answer in every):
        return []
    seen = "an answer holds NaN or infinity"
    cure = "serve with --precision fp32; look at the statistics of the data set"
    return [Finding("not-finite", "error", seen, "the model overflows, or its weights are broken", cure)]


def action_dim(of: Answers) -> list[Finding]:
    wanted, got = of.setting.robot.convention.dim, of.first.shape[1]
    if got == wanted:
        return []
    means = "a rotation as quaternion, or another robot" if got == wanted + 1 else "another robot's actions"
    seen = f"actions have {got} numbers, the robot takes {wanted}"
    return [Finding("action-dim", "error", seen, means, "serve the policy of this robot")]


def chunk_size(of: Answers) -> list[Finding]:
    stated, got = of.setting.spec.chunk, len(of.first)
    if not stated or stated == got:
        return []
    seen = f"an answer has {got} actions, the handshake says {stated}"
    cure = "check the chunk in the server's configuration"
    return [Finding("chunk-size", "error", seen, "server and handshake are of different models", cure)]


def chunk_too_short(of: Answers) -> list[Finding]:
    config, got = of.setting.config, len(of.first)
    wanted = of.setting.robot.ensemble_horizon if config.control == "ensemble" else config.execute
    if got >= wanted or of.setting.spec.control != "chunks":
        return []
    what = "ensemble over" if config.control == "ensemble" else "execute"
    seen = f"an answer has {got} actions, the settings {what} {wanted}"
    cure = f"--control chunk --execute {got}, or a policy with longer chunks"
    return [Finding("chunk-too-short", "warning", seen, f"only {got} of them count", cure)]


def unrepeatable(of: Answers) -> list[Finding]:
    if _repeats(of):
        return []
    own = of.setting.spec.speaks == "stair"
    return [
        Finding(
            "unrepeatable",
            "error" if own else "warning",
            "the same question with the same seed got another answer",
            "the server ignores the seed, or remembers earlier questions: results will not repeat",
            "fix the noise on the server's side, or play each layout several times",
        )
    ]


def _repeats(of: Answers) -> bool:
    """Equal to 5 % of what each dimension does: a batch of other queries changes sums a little."""
    size = np.abs(of.every).max(axis=0) + 1e-6
    return of.again.shape == of.first.shape and bool((np.abs(of.again - of.first) <= 0.05 * size).all())


def far_motion(of: Answers) -> list[Finding]:
    """Steps too long to be metres: absolute positions, normalised actions, or other units."""
    moves = of.every[:, :3]
    median = float(np.median(np.linalg.norm(moves, axis=1)))
    if median <= FAR_M:
        return []
    seen = f"half of all steps are longer than {median:.2g} m"
    own_spread = np.linalg.norm(np.std(of.first[:, :3], axis=0))
    if len(of.first) > 1 and own_spread < 0.2 * median and np.linalg.norm(moves.mean(axis=0)) > 0.8 * median:
        means, cure = "positions where differences belong (absolute poses)", "serve actions as differences"
        return [Finding("absolute-pose", "error", seen, means, cure)]
    if np.abs(of.every[:, :6]).max() <= 1.05 and np.median(np.abs(of.every[:, 3:6])) > 0.1:
        means = "normalised actions, or those of much larger units, that nobody made physical"
        return [Finding("normalised", "error", seen, means, "unnormalise on the server's side")]
    means = "centimetres or millimetres where metres belong"
    return [Finding("units", "error", seen, means, "serve translations in metres")]


def far_turn(of: Answers) -> list[Finding]:
    median = float(np.median(np.abs(of.every[:, 3:6]).max(axis=1)))
    if median <= FAR_RAD:
        return []
    seen, cure = f"half of all steps turn by more than {median:.2g} rad", "serve roll, pitch, yaw in radians"
    return [Finding("degrees", "error", seen, "degrees where radians belong, or absolute angles", cure)]


def wrong_statistics(of: Answers) -> list[Finding]:
    ranges, key = of.setting.spec.action_ranges, of.setting.key
    if key not in ranges:
        return []
    sizes = {name: relative_size(of.every, low, high) for name, (low, high) in ranges.items()}
    beyond, median = float(np.mean(sizes[key] > BEYOND)), float(np.median(sizes[key]))
    fitting = [
        name
        for name, size in sizes.items()
        if name != key and np.mean(size > BEYOND) < OUTSIDE / 2 and np.median(size) > INSIDE
    ]
    if beyond > OUTSIDE:
        level, seen = "error", f"{beyond:.0%} of all motions exceed {BEYOND:g} times the largest of '{key}'"
    elif median < INSIDE and fitting:
        level, seen = "warning", f"half of all motions are below {median:.2g} times the largest of '{key}'"
    else:
        return []
    means = "they were made physical by other statistics, or not at all"
    cure = f"they would fit: {', '.join(fitting)}" if fitting else "check units and normalisation"
    return [Finding("wrong-statistics", level, seen, means, cure)]


def relative_size(actions: np.ndarray, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Motions [n, 6 or more] over the larger of q01's and q99's size in each dimension, [n, 6]."""
    largest = np.maximum(np.maximum(np.abs(low[:6]), np.abs(high[:6])), 1e-6)
    return np.abs(actions[:, :6]) / largest


def gripper_range(of: Answers) -> list[Finding]:
    openings = of.every[:, 6]
    signed = np.mean(openings < -0.5) >= 0.05 and np.mean(np.abs(np.abs(openings) - 1) < 0.3) > 0.8
    if not signed and np.median(openings) <= 3:
        return []
    seen = f"openings from {openings.min():.3g} to {openings.max():.3g}"
    means = "a gripper from -1 to 1 (or 0 to 255) where 0 is closed and 1 is open"
    return [Finding("gripper-range", "error", seen, means, "serve openings from 0 to 1, 1 open")]


def gripper_start(of: Answers) -> list[Finding]:
    if np.median([answer[0, 6] for answer in of.seeds]) > 0.5:
        return []
    return [
        Finding(
            "gripper-start",
            "warning",
            f"the first action closes the gripper ({np.median(of.every[:, 6]):.2g})",
            "robots start open: 1 may mean closed there, or a change, or metres",
            "compare with the data set: here 1 is open, 0 closed, absolute",
        )
    ]


def ignores_image(of: Answers) -> list[Finding]:
    if not (_repeats(of) and _same(of.other_image, of.first)) or stands_still(of):
        return []
    means = (
        "the policy does not see: a saturated image (0 to 255 where 0 to 1 is expected), or a stuck camera"
    )
    seen, cure = "another picture gets the same answer", "look at the image that the model is given"
    return [Finding("ignores-image", "warning", seen, means, cure)]


def ignores_instruction(of: Answers) -> list[Finding]:
    if not (_repeats(of) and _same(of.other_words, of.first)) or stands_still(of):
        return []
    means = "the policy does not listen: a lost prompt, or a policy of one task"
    seen, cure = "other words get the same answer", "look at the prompt that the model is given"
    return [Finding("ignores-instruction", "warning", seen, means, cure)]


def stands_still(of: Answers) -> list[Finding]:
    if np.abs(of.every[:, :6]).max() > 1e-6:
        return []
    seen, means = "no answer moves the arm", "an untrained head, or actions lost on the way"
    return [Finding("stands-still", "warning", seen, means, "look at what the model answers")]


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-7)


ANSWERED: tuple[tuple[Callable[[Answers], list[Finding]], ...], ...] = (
    (not_a_number, action_dim, chunk_size),
    (far_motion, far_turn, gripper_range),
    (wrong_statistics, unrepeatable),
    (chunk_too_short, gripper_start, ignores_image, ignores_instruction, stands_still),
)
"""Group by group: a group is judged only where the ones before it had no errors."""
