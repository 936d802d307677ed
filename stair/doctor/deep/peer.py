"""`python -m stair.doctor.deep.peer ERRAND`: one side of an all-reduce between two.

Takes an Errand (JSON) and, on a node, Slurm's variables that say which of the two this is; hands on one
answer. Looks for what the node lacks first, then runs summing.py in the image under a time limit. The
surprise: it always answers, and in time; a side that cannot be reached is known by the one that waited.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from stair.cluster.container import ContainerConfig
from stair.cluster.hostlist import expand
from stair.console import show
from stair.doctor.deep import summing
from stair.doctor.deep.child import Ended, run
from stair.doctor.deep.inside import Place
from stair.doctor.deep.links import PORTS
from stair.errors import StairError

BESIDE = 11
"""The ports of jobs are 16 apart, so that this one belongs to none of their trainings."""
SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class Errand:
    """What each of the two is told; plain JSON."""

    backend: str = "gloo"
    image: str = ""
    binds: tuple[str, ...] = ()
    """As in the container section of a profile."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of the profile's network, and which GPU."""
    wait_s: float = 90.0
    """How long the two wait for each other: torch takes that long to load where the network disk is slow."""
    limit_s: float = 240.0
    """For everything."""
    rank: int = 0
    hosts: tuple[str, ...] = ()
    port: int = 0
    """These three where Slurm does not say them."""


def main(words: Sequence[str]) -> None:
    """The answer as one JSON line."""
    show(json.dumps(answer(json.loads(words[0]), os.environ)))


def on_node(told: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """What remote.py runs on a node: this side as a part of its `deep`."""
    return {"all_reduce": answer(told, environment)}


def answer(told: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """How this side fared: `stage` is the last one begun, `error` is empty when it came to the end."""
    try:
        errand = seated(Errand(**{**told, "hosts": tuple(told["hosts"])}), environment)
        return _answer(errand, environment)
    except (StairError, LookupError, ValueError) as error:
        return {"host": socket.gethostname(), "rank": -1, "hosts": [], "stage": "start", "error": repr(error)}


def seated(errand: Errand, environment: Mapping[str, str]) -> Errand:
    """The errand with its place among the two, from Slurm's variables where it names none.

    Raises KeyError outside of srun, UsageError for a list of nodes that cannot be read.
    """
    if errand.hosts:
        return errand
    hosts = expand(environment["SLURM_STEP_NODELIST"])
    job, step = int(environment["SLURM_JOB_ID"]), int(environment.get("SLURM_STEP_ID", "0"))
    port = PORTS[((job + step) * 16 + BESIDE) % len(PORTS)]
    return replace(errand, rank=int(environment["SLURM_PROCID"]), hosts=hosts, port=port)


def _answer(errand: Errand, environment: Mapping[str, str]) -> dict[str, Any]:
    interface, address = way_to(errand.hosts[1 - errand.rank])
    said: dict[str, Any] = {
        "host": errand.hosts[errand.rank],
        "rank": errand.rank,
        "hosts": list(errand.hosts),
        "interface": errand.variables.get("GLOO_SOCKET_IFNAME") or interface,
        "address": address,
        "port": errand.port,
        "stage": "start",
        "error": "",
    }
    if trouble := missing(errand):
        return said | {"error": trouble}
    place = Place(errand.image, errand.backend == "nccl", ContainerConfig(binds=tuple(errand.binds)))
    words = [errand.backend, errand.rank, errand.hosts[0], errand.port, errand.wait_s]
    argv, variables = place.start(
        summing, [str(word) for word in words], variables=errand.variables, host=environment
    )
    return said | read_told(run(argv, variables, errand.limit_s), errand.limit_s)


def missing(errand: Errand) -> str:
    """A named network interface that this node lacks, or a first node whose name means nothing here."""
    # Not from /sys/class/net: in a network namespace of its own a node may see the host's there.
    have = [name for _, name in socket.if_nameindex()]
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        value = errand.variables.get(variable, "")
        for name in [] if value.startswith("^") else value.removeprefix("=").split(","):
            if name and name.split(":")[0] not in have:
                return f"no network interface {name} ({variable}); it has {', '.join(have)}"
    try:
        socket.getaddrinfo(errand.hosts[0], errand.port)
    except OSError as error:
        return f"the name {errand.hosts[0]} cannot be resolved: {error.strerror}"
    return ""


def way_to(host: str) -> tuple[str, str]:
    """The interface and the own address that packets to a host leave by; empty where that is not known."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing
        address = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                asked = struct.pack("256s", name.encode()[:15])
                found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, asked)[20:24]
                if socket.inet_ntoa(found) == address:
                    return name, address
        return "", address
    return "", ""


def read_told(ended: Ended, limit_s: float) -> dict[str, Any]:
    """The stage that summing.py reached, its result, and what ended it before that. Pure."""
    told: dict[str, Any] = {"seconds": round(ended.seconds, 2)}
    for line in ended.out.splitlines():
        with suppress(ValueError, TypeError):
            told |= json.loads(line)
    if told.get("stage") == "done" or told.get("error"):
        return told
    if ended.code is None:
        return {**told, "error": f"no end within {limit_s:g} s"}
    if ended.signal:
        return {**told, "error": f"it died of signal {ended.signal}; its last words: {ended.last_words}"}
    return {**told, "error": ended.last_words}


if __name__ == "__main__":
    main(sys.argv[1:])
