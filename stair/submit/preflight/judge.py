"""Whether a cluster can ever run what is asked of it. Pure.

Takes the Requests of a submission and SlurmFacts, hands on a Verdict: refusals with their cures, notes, and
a line per step. Nothing that cannot start is to be submitted, and nothing that can is to be refused: what
Slurm would accept and let wait for ever is refused, what only has to wait is a note, and what cannot be
known here is a note too. The surprise: of several partitions one is enough, unless the cluster enforces all
(EnforcePartLimits=ALL).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from stair.cluster.slurm_facts import Partition, SlurmFacts
from stair.frozen import frozen
from stair.submit.options import Request
from stair.submit.preflight.access import (
    Access,
    check_accounting,
    check_partition,
    find_access,
    find_partitions,
)
from stair.submit.preflight.limits import check_limits, check_submitted, find_holders
from stair.submit.preflight.nodes import Fit, check_exclude, check_nodes
from stair.submit.preflight.verdict import Refusal, Verdict, counted, join

NODES_LOOKED_AT = 20_000
"""A cure names other partitions only as far as that is quick: about 10 µs a node."""


@frozen
class Place:
    """One partition for one request, and what speaks against it."""

    partition: Partition
    access: Access
    fit: Fit
    refusals: tuple[Refusal, ...]


def preflight(requests: Sequence[Request], facts: SlurmFacts) -> Verdict:
    """Judges every request, and then all of them together."""
    verdicts, chosen = [], []
    for request in requests:
        places, refusals = _places(request, facts)
        verdicts.append(_judge(request, facts, places, refusals))
        chosen += [(request, place.partition, place.access) for place in places[:1]]
    together = Verdict(tuple(check_submitted(chosen, facts)), tuple(_unchecked(facts)))
    return join([*verdicts, together])


def _places(request: Request, facts: SlurmFacts) -> tuple[list[Place], list[Refusal]]:
    """The partitions that a request may run in, the best first; and what is wrong wherever it would run."""
    partitions, refusals = find_partitions(request, facts)
    first = partitions[0].name if partitions else ""
    general = [*refusals, *check_accounting(request, facts, first), *check_exclude(request, facts)]
    places = [_place(request, facts, partition) for partition in partitions]
    return sorted(places, key=lambda place: len(place.refusals)), general


def _place(request: Request, facts: SlurmFacts, partition: Partition) -> Place:
    access = find_access(request, facts, partition.name)
    missing, fit = check_nodes(request, facts, partition)
    refusals = (
        *check_partition(request, facts, partition),
        *missing,
        *check_limits(request, facts, partition, access),
    )
    return Place(partition, access, fit, refusals)


def _judge(request: Request, facts: SlurmFacts, places: list[Place], general: list[Refusal]) -> Verdict:
    refusals = list(general)
    if places and (places[0].refusals or facts.part_limits == "ALL"):
        refusals += [refusal for place in places for refusal in place.refusals]
    if refusals or not places:
        if not general and places:
            refusals[0] = _with_alternatives(refusals[0], request, facts, places)
        return Verdict(tuple(dict.fromkeys(refusals)))
    place = places[0]
    return Verdict((), tuple(_notes(request, facts, place)), (_line(request, facts, place),))


def _with_alternatives(
    refusal: Refusal, request: Request, facts: SlurmFacts, places: Sequence[Place]
) -> Refusal:
    """The refusal whose cure also names partitions that would run the request as it is."""
    tried = {place.partition.name for place in places}
    others = (part for part in facts.partitions.values() if part.name not in tried and part.state == "UP")
    good: list[str] = []
    looked_at = 0
    for part in others:
        looked_at += len(part.nodes)
        if looked_at > NODES_LOOKED_AT or len(good) == 4:
            break
        good += [part.name] if not _place(request, facts, part).refusals else []
    if not good:
        return refusal
    more = f" (or {', '.join(good[1:])})" if good[1:] else ""
    return replace(refusal, cure=f"{request.flag('partition')} {good[0]}{more}, or else {refusal.cure}")


def _notes(request: Request, facts: SlurmFacts, place: Place) -> Iterator[str]:
    step, fit = f"step {request.step}", place.fit
    if fit.up < request.nodes:
        some = f"only {fit.up}" if fit.up else "none"
        fitting = counted(len(fit.nodes), "node")
        yield f"{step} will wait: {some} of the {fitting} that fit takes jobs now, {request.nodes} needed"
    if request.reservation:
        yield f"not checked: reservation '{request.reservation}' of {step}"
    if request.options:
        yield f"not checked: {' '.join(request.options)} of {step}"
    if request.members > facts.max_array_size > 0:
        parts = math.ceil(request.members / facts.max_array_size)
        yield (
            f"{step}: {request.members:,} members are sent as {parts} arrays of at most "
            f"{facts.max_array_size:,} (MaxArraySize); they stay one step"
        )
    holders = find_holders(facts, place.partition, place.access)
    budgets = [holder.name for holder in holders if holder.limits.group_minutes or holder.limits.group_wall_s]
    if budgets and "limits" in facts.enforce:
        yield f"not checked: how much is left of the budget of {', '.join(budgets)}"


def _unchecked(facts: SlurmFacts) -> Iterator[str]:
    for what in facts.unread:
        yield f"not checked: {what}"
    if not facts.accounting:
        yield "not checked: accounts, QOS and their limits (this Slurm has no accounting)"
    elif facts.associations is None and not facts.unread:
        yield "not checked: accounts and their limits (this user may not see them)"


def _line(request: Request, facts: SlurmFacts, place: Place) -> str:
    """Where a step will run, and under which rules."""
    size = f"{counted(request.nodes, 'node')} × {counted(request.cores, 'core')}"
    size += f" + {request.gpus} {request.gres}" if request.gpus else ""
    size += f" + {request.mem_gb:g} GiB" if request.mem_gb else ""
    who = [f"account {place.access.account}"] if place.access.account else []
    who += [f"QOS {place.access.qos_name}"] if place.access.qos_name else []
    array = f"{request.members:,} members, " if request.members > 1 else ""
    words = [f"partition {place.partition.name}", f"{array}{size}", f"{len(place.fit.nodes)} nodes fit", *who]
    return f"{request.step}: {', '.join(words)}"
