"""Slots, namespaces and cables: the network of a cluster is built, cut, mended and removed.

One network namespace for the head and for each node, all on one bridge that has an address on the host, so
that sbatch and srun work from there. The surprise: programs enter with nsenter, not with `ip netns exec`:
the latter mounts a fresh /sys without /sys/fs/cgroup, and slurmd gives up.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from stair.errors import StairError
from tools.devslurm.shape import SLOTS, Cluster
from tools.devslurm.system import Process, processes, run

NAMESPACES = Path("/run/netns")
CLAIMS = Path("/run/stair-devcluster")
"""One symbolic link per slot in use, named by the slot, leading to the root folder that uses it."""

# Host name, hosts file, no name server, and a /sys that shows this network's interfaces while it keeps the
# cgroups, without which slurmd gives up. What the host mounts later is seen inside.
ENTER = """
hostname "$1"
mount --bind "$2/hosts" /etc/hosts
if [ -e /etc/resolv.conf ]; then mount --bind "$2/resolv.conf" "$(readlink -f /etc/resolv.conf)"; fi
mount --rbind /sys/fs/cgroup "$2/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$2/cgroup" /sys/fs/cgroup
umount --lazy "$2/cgroup"
shift 2
exec "$@"
"""


def claim_slot(root: Path, preferred: int | None = None) -> int:
    """Takes a free slot for `root`: the preferred one, else one that follows from its path.

    Raises StairError when none is free.
    """
    CLAIMS.mkdir(exist_ok=True)
    start = int.from_bytes(hashlib.sha256(str(root).encode()).digest()[:4], "big")
    order = [preferred] if preferred is not None else []
    order += [(start + step) % SLOTS for step in range(SLOTS)]
    with (CLAIMS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for slot in order:
            if _claim(root, slot):
                if not _elsewhere(Cluster(root, slot)):
                    return slot
                release_slot(Cluster(root, slot))
    raise StairError(f"all {SLOTS} slots for clusters are taken", hint=f"ls -l {CLAIMS}; end some of them")


def _claim(root: Path, slot: int) -> bool:
    holder, link = _holder(slot), CLAIMS / str(slot)
    if holder == root:
        return True
    if holder is not None:
        if _holds(holder, slot):
            return False
        link.unlink(missing_ok=True)  # its folder is gone, or it has moved to another slot
    link.symlink_to(root)
    return True


def _holder(slot: int) -> Path | None:
    """The root folder that has a slot, at this moment: others give theirs back without asking anybody."""
    try:
        return Path(os.readlink(CLAIMS / str(slot)))
    except OSError:
        return None


def _holds(root: Path, slot: int) -> bool:
    try:
        return json.loads((root / "cluster.json").read_text())["slot"] == slot
    except FileNotFoundError:
        # Claimed a moment before the record is written, or purged: the folder tells.
        return root.exists()
    except (OSError, ValueError, KeyError):
        return False


def claims() -> list[tuple[int, Path]]:
    """Every slot that is taken, and the root folder that took it."""
    slots = sorted(int(path.name) for path in CLAIMS.glob("*") if path.name.isdecimal())
    return [(slot, holder) for slot in slots if (holder := _holder(slot)) is not None]


def is_anothers(cluster: Cluster) -> bool:
    """Whether the slot, given back when this cluster went down, is another cluster's by now."""
    holder = _holder(cluster.slot)
    return holder not in (None, cluster.root) and _holds(holder, cluster.slot)


def _elsewhere(cluster: Cluster) -> bool:
    """Whether the machine already reaches the slot's addresses over something else, say a VPN."""
    routes = run(["ip", "route", "show", "to", "match", f"{cluster.address(0)}/24"]).splitlines()
    return any(not route.startswith("default") and f"dev {cluster.bridge}" not in route for route in routes)


def release_slot(cluster: Cluster) -> None:
    """Gives the slot back, if it is this cluster's."""
    if _holder(cluster.slot) == cluster.root:
        (CLAIMS / str(cluster.slot)).unlink(missing_ok=True)


def build(cluster: Cluster) -> None:
    """Makes bridge, namespaces and cables, those that are not there yet."""
    if not _link(cluster.bridge):
        run(["ip", "link", "add", cluster.bridge, "type", "bridge"])
        run(["ip", "address", "add", f"{cluster.host}/24", "dev", cluster.bridge])
    run(["ip", "link", "set", cluster.bridge, "up"])
    run(["ip", "-batch", "-"], input=_quick(cluster, cluster.host, cluster.bridge))
    addresses = {node.name: node.address for node in cluster.nodes}
    for place in cluster.places:
        namespace, cable = cluster.namespace(place), cluster.cable(place)
        address = addresses.get(place, cluster.head)
        if (NAMESPACES / namespace).exists() and _link(cable):
            continue
        _remove(cluster, place)  # half made by one that was killed
        run(["ip", "netns", "add", namespace])
        run(["ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace])
        batch = f"link set lo up\naddress add {address}/24 dev eth0\nlink set eth0 up\n"
        batch += _quick(cluster, address, "eth0")
        run(["ip", "-netns", namespace, "-batch", "-"], input=batch)
        run(["ip", "link", "set", cable, "master", cluster.bridge, "up"])


def _quick(cluster: Cluster, address: str, interface: str) -> str:
    """Routes that acknowledge at once. Slurm writes length and body of a message apart; with delayed
    acknowledgements every message to slurmdbd takes 43 ms (a sacctmgr command 0.24 s instead of 0.06 s)."""
    rest = f"dev {interface} proto kernel src {address} quickack 1"
    return (
        f"route replace {cluster.address(0)}/24 scope link {rest}\n"
        f"route replace local {address} table local scope host {rest}\n"
    )


def remove(cluster: Cluster) -> None:
    """Takes everything away that carries the cluster's tag, also what a former, larger shape left."""
    places = {name.name.partition("-")[2] for name in NAMESPACES.glob(f"{cluster.tag}-*")}
    for place in places | set(cluster.places):
        _remove(cluster, place)
    if _link(cluster.bridge):
        run(["ip", "link", "delete", cluster.bridge])


def _remove(cluster: Cluster, place: str) -> None:
    # The cable first: a namespace lives on while some mount elsewhere holds it, and would keep its name.
    if _link(cluster.cable(place)):
        run(["ip", "link", "delete", cluster.cable(place)])
    if (NAMESPACES / cluster.namespace(place)).exists():
        run(["ip", "netns", "delete", cluster.namespace(place)])


def _link(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


def set_cable(cluster: Cluster, place: str, plugged: bool) -> None:
    """Pulls or replugs the cable of a node; StairError when the cluster has no such cable."""
    cable = cluster.cable(place)
    if not _link(cable):
        raise StairError(f"{place} has no cable: the cluster is not up", hint="tools/devcluster up")
    run(["ip", "link", "set", cable, "up" if plugged else "down"])


def plugged(cluster: Cluster, place: str) -> bool:
    """Whether the cable of a place is in."""
    try:
        flags = int(Path("/sys/class/net", cluster.cable(place), "flags").read_text(), 16)
    except OSError:
        return False
    return bool(flags & 1)  # IFF_UP


def namespace_of(cluster: Cluster, place: str) -> str:
    """The namespace as /proc/PID/ns/net shows it; empty where there is none."""
    try:
        return f"net:[{os.stat(NAMESPACES / cluster.namespace(place)).st_ino}]"
    except OSError:
        return ""


def enter(cluster: Cluster, place: str, argv: Sequence[str]) -> list[str]:
    """The argv that runs `argv` as if on that machine: its network, its host name, its /etc/hosts."""
    return [
        *("nsenter", f"--net={NAMESPACES / cluster.namespace(place)}"),
        *("unshare", "--uts", "--mount", "--propagation", "slave"),
        *("sh", "-euc", ENTER, "sh", place, str(cluster.etc), *argv),
    ]


def members(cluster: Cluster) -> list[Process]:
    """Every process of the cluster: inside its namespaces, or a daemon started from its root folder."""
    places = {path.name.partition("-")[2] for path in NAMESPACES.glob(f"{cluster.tag}-*")}
    networks = {namespace_of(cluster, place) for place in places} - {""}
    return [p for p in processes() if p.network in networks or _is_daemon_of(cluster, p)]


def strays(cluster: Cluster) -> list[Process]:
    """Daemons of the cluster that live outside its namespaces: those were removed under them."""
    networks = {namespace_of(cluster, place) for place in cluster.places}
    return [p for p in processes() if p.network not in networks and _is_daemon_of(cluster, p)]


def _is_daemon_of(cluster: Cluster, process: Process) -> bool:
    names = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd")
    return process.name in names and any(f"{cluster.root}/" in word for word in process.argv)
