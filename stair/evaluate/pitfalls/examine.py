"""What goes wrong between a policy and a robot, looked for before episode 1.

Takes a policy, a robot, the first observation and the settings, hands on Findings: what was seen, what it
means and what to try. First what policy and robot *say* of themselves is compared (stated.py), then
a few answers are asked for and judged (answered.py). The surprise: other words, another picture and
other seeds are asked about too, so that a policy which does not look or does not listen shows it in seconds
instead of in a table of zeros.

Errors are what cannot be meant; they stop the evaluation unless it was told `--pitfalls say`. Warnings are
what a healthy policy may do, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stair.errors import StairError
from stair.evaluate.config import EvalConfig
from stair.evaluate.pitfalls.answered import ANSWERED
from stair.evaluate.pitfalls.evidence import Answers, Finding, Setting
from stair.evaluate.pitfalls.stated import STATED
from stair.policy.contract import Policy, Query
from stair.sim.contract import Observation, Robot

SEEDS = (0, 1, 2, 3)
OTHER_WORDS = "wave at the camera"


def examine(policy: Policy, robot: Robot, observation: Observation, config: EvalConfig) -> list[Finding]:
    """Every pitfall that policy and robot show on the first observation of an episode, the worst first.

    Asks the policy about seven times. Raises what the policy raises.
    """
    words = config.instruction or observation.instruction
    setting = Setting(policy.spec, robot, observation.image, words, config)
    findings = [finding for check in STATED for finding in check(setting)]
    if not any(finding.level == "error" for finding in findings):
        answers = ask(policy, setting)
        for group in ANSWERED:
            seen = [finding for check in group for finding in check(answers)]
            findings += seen
            if any(finding.level == "error" for finding in seen):
                break  # what follows presupposes what failed
    return sorted(findings, key=lambda finding: finding.level != "error")


def settle(findings: Sequence[Finding], config: EvalConfig) -> list[str]:
    """A line for each finding that does not stop the evaluation. Raises StairError for those that do."""
    errors = [finding for finding in findings if finding.level == "error"]
    if errors and config.pitfalls == "stop":
        worst = errors[0]
        more = f" (and {', '.join(other.id for other in errors[1:])})" if len(errors) > 1 else ""
        raise StairError(
            f"pitfall {worst.id}: {worst.seen}: {worst.means}{more}",
            hint=f"{worst.cure}; --pitfalls say goes on all the same",
        )
    return [f"{one.level}: pitfall {one.id}: {one.seen}: {one.means}; try: {one.cure}" for one in findings]


def ask(policy: Policy, setting: Setting) -> Answers:
    """Asks what the checks need to know."""
    image, words = setting.image, setting.instruction

    def answer(seed: int = 0, image: np.ndarray = image, words: str = words) -> np.ndarray:
        return np.asarray(policy.act(Query(image, words, setting.key, seed, first=True)))

    seeds = [answer(seed) for seed in SEEDS]
    strange = np.ascontiguousarray(255 - image[::-1])
    return Answers(setting, seeds[0], answer(), seeds, answer(image=strange), answer(words=OTHER_WORDS))
