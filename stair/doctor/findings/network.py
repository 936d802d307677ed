"""Whether this machine can be reached by the others of a job, by name and by InfiniBand.

The surprise: Debian's installer writes the host's own name beside 127.0.1.1, which harms nobody until two
nodes shall meet: the first then tells the second to call itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.job import several_nodes
from stair.doctor.sheet import rows, section, shared


def _name(facts: Facts) -> Iterator[Finding]:
    found = section(facts, "network").get("name_resolves_to")
    if shared(facts) or not isinstance(found, list) or facts.get("role") != "compute":
        return
    if any(not _loopback(address) for address in found):
        return
    seen = (
        f"this node's own name resolves to {found[0]}"
        if found
        else "this node's own name resolves to nothing"
    )
    yield Finding(
        "network.name",
        "error" if several_nodes(facts) else "warning",
        seen,
        "jobs over several nodes do not meet: c10d 'The client socket has timed out … while trying to "
        "connect to (localhost, …)', 'The server socket has failed to listen', Gloo 'connectFullMesh failed "
        "… 127.0.1.1'",
        "the administrator corrects /etc/hosts or DNS; until then name the interface",
        f"export GLOO_SOCKET_IFNAME={_interface(facts)} NCCL_SOCKET_IFNAME={_interface(facts)}",
    )


def _no_interface(facts: Facts) -> Iterator[Finding]:
    interfaces = rows(facts, "network", "interfaces")
    if (
        shared(facts)
        or facts.get("role") != "compute"
        or not interfaces
        or _interface(facts, "")
        or not several_nodes(facts)
    ):
        return
    yield Finding(
        "network.no-interface",
        "error",
        "no interface but loopback is up with an address "
        f"({', '.join(str(each.get('name')) for each in interfaces)})",
        "other nodes of the job cannot reach this one: 'Network is unreachable', 'No route to host', NCCL "
        "WARN 'Bootstrap : no socket interface found'",
        "another node (--exclude), and tell the administrator",
        "ip -br address",
    )


def _infiniband(facts: Facts) -> Iterator[Finding]:
    ports = rows(facts, "network", "infiniband")
    down = [
        port for port in ports if port.get("link") != "Ethernet" and "ACTIVE" not in str(port.get("state"))
    ]
    if shared(facts) or not down:
        return
    told = ", ".join(f"{port.get('device')} port {port.get('port')} is {port.get('state')}" for port in down)
    yield Finding(
        "network.infiniband-down",
        "error" if several_nodes(facts) and len(down) == len(ports) else "warning",
        told,
        "NCCL leaves it out, or waits for it: NCCL WARN 'NET/IB : Got async event : port error' or 'Call to "
        "ibv_modify_qp failed'; all-reduce between nodes at a fraction of its rate",
        "the administrator looks at cable and switch; until then leave the port out",
        f"export NCCL_IB_HCA=^{','.join(sorted({str(port.get('device')) for port in down}))}",
    )


def _rates(facts: Facts) -> Iterator[Finding]:
    ports = [port for port in rows(facts, "network", "infiniband") if port.get("link") != "Ethernet"]
    active = [port for port in ports if "ACTIVE" in str(port.get("state"))]
    rates = sorted({str(port.get("rate")) for port in active})
    if shared(facts) or len(rates) < 2:
        return
    told = ", ".join(f"{port.get('device')} {port.get('rate')}" for port in active)
    yield Finding(
        "network.infiniband-rates",
        "warning",
        f"InfiniBand ports of different rates: {told}",
        "a ring is as fast as its slowest port: a cable that has fallen back, or a storage network among "
        "them",
        "leave the slow ones out if they are for storage (NCCL_IB_HCA); else the administrator looks at the "
        "cable",
        "ibstat",
    )


def _interface(facts: Facts, default: str = "eth0") -> str:
    for each in rows(facts, "network", "interfaces"):
        addresses = each.get("addresses") or ()
        if each.get("up") and any(not _loopback(a) and not str(a).startswith("fe80") for a in addresses):
            return str(each.get("name"))
    return default


def _loopback(address: object) -> bool:
    return str(address).startswith("127.") or str(address) == "::1"


CHECKS = (
    Check("network.no-interface", "an interface other nodes can reach", _no_interface),
    Check(
        "network.name",
        "the node's name resolves to an address other nodes can reach",
        _name,
        ("network.no-interface",),
    ),
    Check("network.infiniband-down", "InfiniBand ports are up", _infiniband),
    Check("network.infiniband-rates", "InfiniBand ports are of one rate", _rates),
)
