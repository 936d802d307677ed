"""Time, sizes and numbers against the limits of partition, QOS and account. Pure.

Takes a Request, its Access and SlurmFacts, hands on Refusals for what would wait for ever or be refused.
The order in which limits hold is Slurm's (resource_limits.html): the partition's QOS, the job's QOS, the
user's association; the first that sets a limit is the one that counts. The surprise: group limits hold at
every account up the tree, unless a QOS sets them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from stair.cluster.limits import Limits, Qos
from stair.cluster.slurm_facts import Partition, SlurmFacts
from stair.frozen import frozen
from stair.submit.options import Request
from stair.submit.preflight.access import Access
from stair.submit.preflight.verdict import Refusal, counted

TOTALS = (
    ("job", "limit-job", "per job"),
    ("user", "limit-user", "for all jobs of a user"),
    ("account", "limit-account", "for all jobs of an account"),
    ("group", "limit-group", "for all jobs together"),
)
"""Field of Limits, id of the refusal, and what it is a limit for."""
FLAGS = {"node": "nodes", "cpu": "cores", "mem": "mem_gb"}
"""Which setting asks for a TRES; GPUs for the others."""


@frozen
class Holder:
    """One that sets limits. They are judged in the order of their force."""

    kind: Literal["qos", "user", "account"]
    name: str
    limits: Limits
    factor: float = 1.0
    """LimitFactor of the QOS, for the TRES of associations."""


def check_limits(
    request: Request, facts: SlurmFacts, partition: Partition, access: Access
) -> Iterator[Refusal]:
    """Every limit that one job of the request breaks by itself."""
    yield from _check_partition(request, partition, access.qos)
    if "limits" in facts.enforce:
        holders = list(find_holders(facts, partition, access))
        yield from _check_time(request, holders)
        yield from _check_totals(request, holders)
        yield from _check_each(request, holders)
        yield from _check_minutes(request, holders, safe="safe" in facts.enforce)
        yield from _check_running(request, holders)


def check_submitted(
    requests: Sequence[tuple[Request, Partition, Access]], facts: SlurmFacts
) -> Iterator[Refusal]:
    """The number of all jobs and members, which wait at once, against MaxSubmit, GrpSubmit, MaxJobCount."""
    total = sum(max(1, request.members) for request, _, _ in requests)
    if total > facts.max_job_count:
        most = max((request for request, _, _ in requests), key=lambda request: request.members)
        possible = f"this Slurm keeps {facts.max_job_count:,} at once, everybody's together"
        cure = f"{most.flag('members')} with fewer, each of them doing more"
        yield Refusal("array-jobs", most.step, counted(total, "job"), possible, cure)
    if "limits" not in facts.enforce:
        return
    sums: dict[tuple[str, str], int] = {}
    for request, partition, access in requests:
        holders = list(find_holders(facts, partition, access))
        for field in ("submitted", "group_submitted"):
            limit = operator.attrgetter(f"limits.{field}")
            for holder, most in holding(holders, limit, group=field == "group_submitted"):
                before = sums.get((holder.name, field), 0)
                now = sums[holder.name, field] = before + max(1, request.members)
                if before <= most < now:
                    possible = f"{holder.name} lets {most:,} wait and run at once"
                    fewer = f"{request.flag('members')} {most - before}, or " if most > before else ""
                    cure = f"{fewer if request.members > 1 else ''}another account or QOS"
                    yield Refusal("limit-submit", request.step, counted(now, "job"), possible, cure)


def find_holders(facts: SlurmFacts, partition: Partition, access: Access) -> Iterator[Holder]:
    """Whoever may limit a job, the strongest first."""
    both = [(facts.qos or {}).get(partition.qos.lower()), access.qos]
    if access.qos and "overpartqos" in access.qos.flags:
        both.reverse()
    found = {qos.name: qos for qos in both if qos}
    for qos in found.values():
        yield Holder("qos", f"QOS {qos.name}", qos.limits)
    factor = next((qos.factor for qos in found.values() if qos.factor), 1.0)
    if access.association:
        name = f"account {access.association.account} for you"
        yield Holder("user", name, access.association.limits, factor)
    for account in access.above:
        yield Holder("account", f"account {account.account}", account.limits, factor)


def holding(
    holders: Sequence[Holder], limit: Callable[[Holder], int | None], *, group: bool = False
) -> Iterator[tuple[Holder, int]]:
    """The limits that count.

    A QOS overrules all below it. Of associations a group limit holds at every level, any other only at the
    user's own, which has inherited it.
    """
    for holder in holders:
        most = limit(holder)
        if most is None or (holder.kind == "account" and not group):
            continue
        yield holder, most
        if holder.kind == "qos" or not group:
            return


def asked_tres(request: Request) -> dict[str, int]:
    """What all nodes of one job of the request hold together, by Slurm's names."""
    total = {"cpu": request.nodes * request.cores, "node": request.nodes}
    if request.gpus > 0:
        total[f"gres/{request.gres_name}"] = request.nodes * request.gpus
        if request.gres_type:
            total[f"gres/{request.gres}"] = request.nodes * request.gpus
    if request.mem_mb:
        total["mem"] = request.nodes * request.mem_mb
    return total


def _check_partition(request: Request, partition: Partition, qos: Qos | None) -> Iterator[Refusal]:
    flags = qos.flags if qos else frozenset()
    name, asked_s, most_s = f"partition {partition.name}", 60 * request.minutes, partition.max_time_s
    if request.minutes <= 0:
        cure = f"{request.flag('hours')} 1"
        yield Refusal("time-zero", request.step, "no time at all", "a job needs a time limit", cure)
    if most_s is not None and asked_s > most_s and "partitiontimelimit" not in flags:
        cure = f"{request.flag('hours')} {_hours(most_s)}"
        yield Refusal("time-partition", request.step, _span(asked_s), f"{name} gives {_span(most_s)}", cure)
    nodes = counted(request.nodes, "node")
    most = partition.max_nodes
    if most is not None and request.nodes > most and "partitionmaxnodes" not in flags:
        cure = f"{request.flag('nodes')} {most}"
        yield Refusal("nodes-most", request.step, nodes, f"{name} gives a job at most {most}", cure)
    if request.nodes < partition.min_nodes and "partitionminnodes" not in flags:
        cure = f"{request.flag('nodes')} {partition.min_nodes}"
        yield Refusal(
            "nodes-least", request.step, nodes, f"{name} is for jobs of {partition.min_nodes} and more", cure
        )


def _check_time(request: Request, holders: Sequence[Holder]) -> Iterator[Refusal]:
    for holder, most_s in holding(holders, lambda holder: holder.limits.wall_s):
        if 60 * request.minutes > most_s:
            cure = f"{request.flag('hours')} {_hours(most_s)}, or another QOS or account"
            asked = _span(60 * request.minutes)
            yield Refusal("time-limit", request.step, asked, f"{holder.name} gives {_span(most_s)}", cure)


def _check_totals(request: Request, holders: Sequence[Holder]) -> Iterator[Refusal]:
    for field, id, meaning in TOTALS:
        for tres, amount in asked_tres(request).items():
            for holder, most in holding(holders, _limit(field, tres), group=field == "group"):
                if amount > most:
                    possible = f"{holder.name} has a limit of {_some(most, tres)} {meaning}"
                    yield Refusal(id, request.step, _some(amount, tres), possible, _less(request, tres, most))
                    break


def _check_each(request: Request, holders: Sequence[Holder]) -> Iterator[Refusal]:
    """On every node, and at least."""
    asked = asked_tres(request)
    for tres, amount in asked.items():
        for holder, most in holding(holders, _limit("node", tres)):
            if amount > most * request.nodes:
                possible = f"{holder.name} has a limit of {_some(most, tres)} per node"
                cure = _less(request, tres, most * request.nodes)
                each = _some(amount // request.nodes, tres)
                yield Refusal("limit-node", request.step, f"{each} per node", possible, cure)
    for tres in dict.fromkeys(tres for holder in holders for tres in holder.limits.least):
        for holder, least in holding(holders, _limit("least", tres)):
            amount = asked.get(tres, 0)
            if amount < least and (amount or tres.startswith("gres/")):
                possible = f"{holder.name} is for jobs with at least {_some(least, tres)}"
                cure = f"{request.flag(FLAGS.get(tres, 'gpus'))} with more, or another QOS"
                yield Refusal("limit-least", request.step, _some(amount, tres), possible, cure)


def _check_minutes(request: Request, holders: Sequence[Holder], *, safe: bool) -> Iterator[Refusal]:
    """Budgets of TRES × minutes: of one job; of all, where `safe` keeps back what a job may need."""
    fields = (("job_minutes", "limit-minutes"), ("group_minutes", "limit-budget"))
    for field, id in fields if safe else fields[:1]:
        for tres, amount in asked_tres(request).items():
            for holder, most in holding(holders, _limit(field, tres), group=field == "group_minutes"):
                if amount * request.minutes > most:
                    asked = f"{_some(amount, tres)} for {request.minutes:,} minutes"
                    whom = "one job" if field == "job_minutes" else "all jobs"
                    possible = f"{holder.name} has {most:,} such minutes for {whom}"
                    cure = f"{request.flag('hours')} {_hours(60 * (most // amount))}, or less at once"
                    yield Refusal(id, request.step, asked, possible, cure)
                    break


def _check_running(request: Request, holders: Sequence[Holder]) -> Iterator[Refusal]:
    """A limit of 0 running jobs; any other only makes jobs take turns."""
    own = holding(holders, lambda holder: holder.limits.jobs)
    together = holding(holders, lambda holder: holder.limits.group_jobs, group=True)
    for holder in {h.name: h for h, most in [*own, *together] if most == 0}.values():
        possible = f"{holder.name} lets no job start"
        yield Refusal("limit-jobs", request.step, "one job", possible, "another account or QOS")


def _limit(field: str, tres: str) -> Callable[[Holder], int | None]:
    def limit(holder: Holder) -> int | None:
        most = getattr(holder.limits, field).get(tres)
        return most if most is None else int(most * holder.factor)

    return limit


def _less(request: Request, tres: str, most: int) -> str:
    """The setting that brings a TRES of the whole job down to `most`, in what it counts per node."""
    setting = FLAGS.get(tres, "gpus")
    each = most if setting == "nodes" else most // request.nodes
    amount = f"{each / 1024:g}" if setting == "mem_gb" else str(each)
    ways = [f"{request.flag(setting)} {amount}"] if each else []
    fewer = most * request.nodes // max(1, asked_tres(request)[tres])
    if setting != "nodes" and 0 < fewer < request.nodes:
        ways.append(f"{request.flag('nodes')} {fewer}")
    return ", or ".join([*ways, "another QOS or account"])


def _some(amount: int, tres: str) -> str:
    if tres in ("cpu", "node"):
        return counted(amount, {"cpu": "core", "node": "node"}[tres])
    return f"{amount:,} {'MB of memory' if tres == 'mem' else tres.removeprefix('gres/')}"


def _span(seconds: int) -> str:
    if seconds >= 2 * 86400 and not seconds % 86400:
        return f"{seconds // 86400} days"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return " ".join(
        [*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes or not hours else [])]
    )


def _hours(seconds: int) -> str:
    """Hours that are not rounded above the limit."""
    return f"{int(seconds / 3600 * 1000) / 1000:g}"
