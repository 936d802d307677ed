"""What preflight hands on: what cannot be, what could not be checked, and what will happen. Plain values."""

from __future__ import annotations

from collections.abc import Sequence

from stair.errors import UsageError
from stair.frozen import frozen


@frozen
class Refusal:
    """One reason why a step can never start on this cluster."""

    id: str
    """Stable, such as time-partition: for tests, and to search for."""
    step: str
    asked: str
    """What the step asks for."""
    possible: str
    """What the cluster gives."""
    cure: str
    """A flag of stair-submit, or a key of the cluster's profile."""

    def __str__(self) -> str:
        return f"step {self.step} asks for {self.asked}; {self.possible} [{self.id}]"


@frozen
class Verdict:
    """Everything preflight found, the most causal first."""

    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    """What was not checked, and what a person may want to know before waiting for it."""
    show: tuple[str, ...] = ()
    """A line per step: where it will run, and under which rules."""

    def error(self) -> UsageError:
        """All refusals as one error. Only for a verdict that has any."""
        if len(self.refusals) == 1:
            return UsageError(str(self.refusals[0]), hint=self.refusals[0].cure)
        lines = [f"{refusal}\n  try: {refusal.cure}" for refusal in self.refusals]
        return UsageError("\n".join([f"the cluster refuses {len(lines)} things", *lines]))


def join(verdicts: Sequence[Verdict]) -> Verdict:
    """Several verdicts as one; what was said once is not said again."""
    return Verdict(
        tuple(dict.fromkeys(refusal for verdict in verdicts for refusal in verdict.refusals)),
        tuple(dict.fromkeys(note for verdict in verdicts for note in verdict.notes)),
        tuple(line for verdict in verdicts for line in verdict.show),
    )


def counted(number: int, thing: str) -> str:
    """`1 node`, `2,000 nodes`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
