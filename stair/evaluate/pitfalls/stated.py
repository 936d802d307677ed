"""Pitfalls that show in what policy and robot say of themselves, one function each.

Takes the Setting, hands on Findings; STATED holds them all. Nothing is asked of the policy here. What a
server does not state cannot differ: that it is assumed is a finding of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stair.evaluate.pitfalls.evidence import Finding, Setting
from stair.policy.contract import IMAGE, PROTOCOL_VERSION, differences
from stair.sim.tasks import GOOGLE, TABLETOP, WIDOWX


def protocol(of: Setting) -> list[Finding]:
    if of.spec.protocol == PROTOCOL_VERSION:
        return []
    seen = f"the server speaks protocol {of.spec.protocol}, this client {PROTOCOL_VERSION}"
    return [Finding("protocol", "error", seen, "they may misunderstand each other", "use one STAIR version")]


def unnorm_key(of: Setting) -> list[Finding]:
    known = of.spec.unnorm_keys
    if not known or of.key in known:
        return []
    return [
        Finding(
            "unnorm-key",
            "error",
            f"policy '{of.spec.name}' has no statistics for '{of.key}'",
            "its actions cannot be made physical for this robot",
            f"--unnorm_key with one of: {', '.join(known)}",
        )
    ]


def other_robot(of: Setting) -> list[Finding]:
    """The settings ask for the statistics of a data set that was recorded on another robot."""
    for other in (TABLETOP, WIDOWX, GOOGLE):
        if other.unnorm_key == of.key and replace(of.robot, convention=other.convention) != other:
            return [
                Finding(
                    "other-robot",
                    "error",
                    f"unnorm_key '{of.key}' is the data set of another robot",
                    "steps would have that robot's size",
                    "leave --unnorm_key out",
                )
            ]
    return []


_FIELDS = {
    "dim": ("action-dim", "actions have another length"),
    "translation": ("translation", "motions would be taken for something else"),
    "rotation": ("rotation", "turns would go about other axes, or by other amounts"),
    "gripper": ("gripper", "the gripper would open where it should close, or stay as it is"),
    "control_hz": ("control-hz", "each action would last longer or shorter than in training"),
}


def conventions(of: Setting) -> list[Finding]:
    return [
        Finding(
            _FIELDS[name][0],
            "error",
            f"{name} differs: the simulator means {wanted!r}, policy '{of.spec.name}' means {meant!r}",
            _FIELDS[name][1],
            "evaluate on the robot the policy was trained for, or choose another unnorm_key",
        )
        for name, (wanted, meant) in differences(of.spec, of.key, of.robot.convention).items()
    ]


def unstated(of: Setting) -> list[Finding]:
    stated = of.spec.convention_for(of.key)
    names = [name for name in _FIELDS if not (stated and getattr(stated, name))]
    names += ["unnorm_key"] if not of.spec.unnorm_keys else []
    if not names:
        return []
    mine = of.robot.convention
    wanted = (
        f"{mine.dim} numbers, {mine.translation}, {mine.rotation}, {mine.gripper}, {mine.control_hz:g} Hz"
    )
    return [
        Finding(
            "unstated",
            "warning",
            f"the {of.spec.speaks} server does not state: {', '.join(names)}",
            f"it is ASSUMED to answer as '{of.key}' has it: {wanted}",
            "make sure of it: a wrong one looks like a bad policy",
        )
    ]


def image_form(of: Setting) -> list[Finding]:
    if of.spec.image in ("", IMAGE):
        return []
    seen = f"the policy expects its image as {of.spec.image}, the simulator gives {IMAGE}"
    cure = "let the server convert images on its side"
    return [Finding("image-form", "error", seen, "it would see other colours, or noise", cure)]


def image_size(of: Setting) -> list[Finding]:
    side = min(of.image.shape[:2])
    if of.spec.image_size <= side:
        return []
    seen = f"the simulator's image has {side} pixels a side, the policy looks at {of.spec.image_size}"
    cure = "a larger --camera, where the simulator has the choice"
    return [Finding("image-size", "warning", seen, "it sees an enlarged, blurred picture", cure)]


def clip(of: Setting) -> list[Finding]:
    if not of.spec.needs_clip:
        return []
    seen = "the policy needs a clip of the future"
    return [Finding("needs-clip", "error", seen, "no simulator has one", "serve a stage-2 model")]


def horizon(of: Setting) -> list[Finding]:
    meant = of.spec.ensemble_horizons.get(of.key)
    if of.config.control != "ensemble" or meant in (None, of.robot.ensemble_horizon):
        return []
    seen = f"the robot's ensemble keeps {of.robot.ensemble_horizon} chunks, the policy was meant for {meant}"
    return [
        Finding("horizon", "warning", seen, "motions are smoothed more or less", "report which one was used")
    ]


def blended_twice(of: Setting) -> list[Finding]:
    if of.spec.control == "chunks" or of.config.control != "ensemble":
        return []
    seen = f"the server's answers are already {of.spec.control}, and --control ensemble blends them again"
    cure = "--control chunk here, or serve without --mode robot"
    return [Finding("blended-twice", "error", seen, "motions would lag and shrink", cure)]


STATED: tuple[Callable[[Setting], list[Finding]], ...] = (
    protocol,
    unnorm_key,
    other_robot,
    conventions,
    unstated,
    image_form,
    image_size,
    clip,
    horizon,
    blended_twice,
)
