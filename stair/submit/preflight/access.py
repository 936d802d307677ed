"""Which account, QOS and partitions a request means, and whether its user may use them. Pure.

Takes a Request and SlurmFacts, hands on an Access, and Refusals for what is unknown, closed or not
permitted. The surprise: who has no account given has a default one, and a QOS with it; both are judged as
if they had been asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from stair.cluster.limits import Association, Qos
from stair.cluster.slurm_facts import Partition, SlurmFacts
from stair.errors import unknown
from stair.frozen import frozen
from stair.submit.options import Request
from stair.submit.preflight.verdict import Refusal


@frozen
class Access:
    """Whom the job counts on. Empty and None where the cluster does not say."""

    account: str = ""
    association: Association | None = None
    above: tuple[Association, ...] = ()
    """The account itself, and those over it."""
    qos: Qos | None = None
    qos_name: str = ""


def find_access(request: Request, facts: SlurmFacts, partition: str) -> Access:
    """The association that Slurm will pick, with the accounts above it, and the QOS."""
    account = (request.account or facts.default_account).lower()
    own = [a for a in facts.associations or () if a.user == facts.user and a.account.lower() == account]
    chosen = next((a for a in own if a.partition == partition), None) or next(
        (a for a in own if not a.partition), None
    )
    accounts = {a.account: a for a in facts.associations or () if not a.user}
    above: list[Association] = []
    name = chosen.account if chosen else ""
    while name in accounts and accounts[name] not in above:
        above.append(accounts[name])
        name = accounts[name].parent
    qos_name = (request.qos or _default_qos(chosen)).lower()
    return Access(account, chosen, tuple(above), (facts.qos or {}).get(qos_name), qos_name)


def check_accounting(request: Request, facts: SlurmFacts, partition: str) -> Iterator[Refusal]:
    """Account and QOS: known, the user's own, and permitted."""
    access = find_access(request, facts, partition)
    if facts.associations is not None and "associations" in facts.enforce and not access.association:
        yield _no_account(request, facts, facts.associations, access.account)
    if facts.qos is not None and request.qos:
        yield from _check_qos(request, facts, facts.qos, access)


def _no_account(
    request: Request, facts: SlurmFacts, associations: Sequence[Association], account: str
) -> Refusal:
    own = sorted({a.account for a in associations if a.user == facts.user})
    parts = [a.partition for a in associations if a.user == facts.user and a.account.lower() == account]
    asked = f"account {account}" if account else "the default account"
    if parts:
        possible = f"{facts.user} may use it in partition {', '.join(parts)} only"
        return Refusal("account", request.step, asked, possible, f"{request.flag('partition')} {parts[0]}")
    if not own:
        possible = f"{facts.user} is in no account of cluster {facts.cluster}"
        return Refusal("account", request.step, asked, possible, "ask the cluster's administrators for one")
    known = any(a.account.lower() == account for a in associations)
    near = difflib.get_close_matches(account, own, n=1, cutoff=0.6)
    best = near[0] if near else facts.default_account or own[0]
    possible = f"{facts.user} is not in it" if known else "there is none of that name"
    cure = f"{request.flag('account')} {best} (yours: {', '.join(own)}), or slurm.account of the profile"
    return Refusal("account", request.step, asked, possible, cure)


def _check_qos(
    request: Request, facts: SlurmFacts, known: Mapping[str, Qos], access: Access
) -> Iterator[Refusal]:
    asked = f"QOS {request.qos}"
    allowed = access.association.qos if access.association else frozenset(known)
    near = difflib.get_close_matches(access.qos_name, sorted(allowed), n=1, cutoff=0.6)
    best = near[0] if near else _pick(sorted(allowed), "normal") or min(allowed, default="NAME")
    cure = f"{request.flag('qos')} {best} (yours: {', '.join(sorted(allowed))}), or slurm.qos of the profile"
    if access.qos_name not in known:
        yield Refusal("qos-unknown", request.step, asked, "there is none of that name", cure)
    elif access.association and "qos" in facts.enforce and access.qos_name not in allowed:
        possible = f"{facts.user} in account {access.account} may not use it"
        yield Refusal("qos-permission", request.step, asked, possible, cure)
    elif access.qos and "requiresreservation" in access.qos.flags and not request.reservation:
        cure = "slurm.reservation of the profile, or another QOS"
        yield Refusal("qos-reservation", request.step, asked, "it is for reservations only", cure)


def find_partitions(request: Request, facts: SlurmFacts) -> tuple[tuple[Partition, ...], tuple[Refusal, ...]]:
    """The partitions that a request names, or the default one; or why there are none."""
    if not request.partition:
        if facts.default_partition:
            return (facts.partitions[facts.default_partition],), ()
        known = ", ".join(facts.partitions)
        cure = f"{request.flag('partition')} one of {known}, or slurm.partition of the profile"
        return (), (Refusal("partition-none", request.step, "no partition", "there is no default one", cure),)
    names = [name.strip() for name in request.partition.split(",") if name.strip()]
    missing = [name for name in names if name not in facts.partitions]
    refusals = tuple(
        Refusal(
            "partition-unknown",
            request.step,
            f"partition '{name}'",
            f"there is none: {unknown('partition', name, facts.partitions).hint}",
            f"{request.flag('partition')} {_nearest(name, facts)}, or slurm.partition of the profile",
        )
        for name in missing
    )
    return tuple(facts.partitions[name] for name in names if name not in missing), refusals


def check_partition(request: Request, facts: SlurmFacts, partition: Partition) -> Iterator[Refusal]:
    """Whether a partition takes jobs at all, and of this user."""
    access = find_access(request, facts, partition.name)

    def refuse(
        id: str, possible: str, cure: str = "an open partition, or the cluster's administrators"
    ) -> Refusal:
        return Refusal(id, request.step, f"partition {partition.name}", possible, cure)

    if partition.state != "UP":
        meaning = {
            "DOWN": "jobs wait in it, none is started",
            "DRAIN": "it takes no new jobs",
            "INACTIVE": "it takes no jobs and starts none",
        }
        state = partition.state
        yield refuse("partition-state", f"it is {state}: {meaning.get(state, 'nobody knows for how long')}")
    if partition.root_only and not facts.administrator:
        yield refuse("partition-user", "only root may use it")
    if partition.no_root and facts.user == "root":
        yield refuse("partition-user", "root may not use it", "submit as a person's user")
    if partition.groups is not None and not facts.administrator and not facts.groups & set(partition.groups):
        yield refuse("partition-group", f"only the groups {', '.join(partition.groups)} may use it")
    if partition.needs_reservation and not request.reservation:
        cure = "slurm.reservation of the profile"
        yield refuse("partition-reservation", "it is for reservations only", cure)
    yield from _check_lists(request, partition, access, refuse)


def _check_lists(
    request: Request, partition: Partition, access: Access, refuse: Callable[[str, str, str], Refusal]
) -> Iterator[Refusal]:
    """AllowAccounts, DenyAccounts, AllowQos, DenyQos."""
    for kind, name, allowed, denied in (
        ("account", access.account, partition.accounts, partition.denied_accounts),
        ("qos", access.qos_name, partition.allowed_qos, partition.denied_qos),
    ):
        if not name:
            continue
        spoken = {"account": "account", "qos": "QOS"}[kind]
        if allowed is not None and name not in _small(allowed):
            possible = f"it is for {spoken} {', '.join(allowed)}, and this is {spoken} {name}"
            cure = f"{request.flag(kind)} {allowed[0]}, where you may use it"
            yield refuse(f"partition-{kind}", possible, cure)
        elif name in _small(denied):
            yield refuse(
                f"partition-{kind}",
                f"it is closed to {spoken} {name}",
                f"{request.flag(kind)} with another one",
            )


def _default_qos(association: Association | None) -> str:
    """Slurm's own choice for a job that names no QOS."""
    if association is None:
        return ""
    return association.default_qos or _pick(sorted(association.qos), "normal")


def _pick(names: list[str], wish: str) -> str:
    """The only one, or the wished one; empty when neither is there."""
    return names[0] if len(names) == 1 else wish if wish in names else ""


def _nearest(name: str, facts: SlurmFacts) -> str:
    near = difflib.get_close_matches(name, list(facts.partitions), n=1, cutoff=0.6)
    return near[0] if near else facts.default_partition or "NAME"


def _small(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}
