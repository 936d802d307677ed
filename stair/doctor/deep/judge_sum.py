"""The all-reduce between two becomes findings: which side, over which network, at which stage. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stair.doctor.deep.links import PORTS, expected_gb_s
from stair.doctor.deep.measured import unmeasured
from stair.doctor.finding import Facts, Finding
from stair.doctor.sheet import section

Fact = Mapping[str, Any]


def judge_all_reduce(facts: Facts) -> Iterator[Finding]:
    id = "deep.all-reduce"
    yield from unmeasured(id, facts, "all_reduce", "no all-reduce was tried", "--image with a training image")
    fact = section(section(facts, "deep"), "all_reduce")
    if not fact:
        return
    if not fact.get("ok"):
        yield _not_summed(fact)
        return
    want, why = expected_gb_s(facts, str(fact.get("backend")))
    if fact.get("between") == "nodes" and fact.get("bus_gb_s", 0.0) < want:
        yield Finding(
            id,
            "warning",
            f"{fact.get('backend')} adds up {fact['bus_gb_s']:g} GB/s between {_hosts(fact)}; {why}",
            "every step of a training on several nodes waits for this; nccl may go over sockets instead of "
            "InfiniBand, or over the wrong network",
            "name the fast network in the profile: network.interface and network.hca; "
            "NCCL_DEBUG=INFO says which one is used",
            "ibstat; ip -br addr",
        )


def _not_summed(fact: Fact) -> Finding:
    at, stage, error = fact.get("at") or "one side", str(fact.get("stage")), str(fact.get("error"))
    side = next((side for side in fact.get("sides", ()) if side.get("host") == at), {})
    by = f" over {side['interface']}" if side.get("interface") else ""
    between = _hosts(fact)
    if fact.get("wrong"):
        return Finding(
            "deep.all-reduce",
            "error",
            f"the sum of numbers between {between} is wrong on {at}",
            "training there diverges without any error",
            "do not train on them: tell the admin; with GPUs look for Xid and ECC errors",
            "nvidia-smi -q -d ECC",
        )
    seen = f"no all-reduce between {between}: {at}{by}, at '{stage}': {error}"
    means, cure, command = {
        "meet": (
            "the nodes do not reach each other at the rendezvous: a training's launchers will not either "
            "('Timed out waiting for clients', 'Connection refused')",
            f"does the first node's name lead to its cluster address on both (not 127.0.1.1), and do "
            f"firewalls let ports {PORTS.start}-{PORTS.stop} pass?",
            f"getent hosts {(fact.get('hosts') or ['NODE'])[0]}",
        ),
        "group": (
            "the nodes know each other but cannot connect over the network that was chosen: gloo takes the "
            "one that the own host name leads to, nccl the first that looks fast",
            "name the network in the profile: network.interface (and network.hca)",
            "ip -br addr",
        ),
    }.get(
        stage,
        (
            "a training on these two nodes will not start",
            "leave the node out (slurm.exclude of the profile) and tell the admin, or correct what it names",
            "",
        ),
    )
    return Finding("deep.all-reduce", "error", seen, means, cure, command)


def _hosts(fact: Fact) -> str:
    if fact.get("between") == "processes":
        return "two processes of this machine"
    return " and ".join(fact.get("hosts") or ["two nodes"])
