"""A Cluster's folders, files, fake devices and accounts come to be; all of it may be done again.

The surprise: files that namespaces have bound over /etc are left alone while they say the same, since a
file written anew would not be seen there.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat

from stair.errors import StairError
from stair.rundir import write_whole
from tools.devslurm import accounts, texts
from tools.devslurm.daemons import environment
from tools.devslurm.shape import Cluster
from tools.devslurm.system import run, wait_until


def write_files(cluster: Cluster) -> None:
    """Writes folders, configuration, munge's key and the devices that pass for GPUs."""
    folders = [
        cluster.etc / "cgroup",
        cluster.logs,
        cluster.pids,
        cluster.munge,
        cluster.devices,
        cluster.root / "state",
    ]
    folders += [cluster.root / "spool" / node.name for node in cluster.nodes]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # munged wants no one else to write where its socket lies
    for name, text in texts.files(cluster, platform.node().partition(".")[0]).items():
        file = cluster.etc / name
        if name in ("hosts", "resolv.conf") and file.exists() and file.read_text() == text:
            continue  # bound over /etc in every namespace: a new file would not be seen there
        write_whole(file, text)
        file.chmod(0o600 if name == "slurmdbd.conf" else 0o644)
    key = cluster.munge / "munge.key"
    if not key.exists():
        write_whole(key, os.urandom(1024))
    key.chmod(0o600)
    for number in range(max((node.gpus for node in cluster.nodes), default=0)):
        device = cluster.devices / f"fakegpu{number}"
        if not device.exists():
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # what /dev/null is


def announce(cluster: Cluster) -> None:
    """Tells an empty slurmdbd that the cluster exists; the controller could not register otherwise."""
    if not (cluster.root / "accounts").exists():
        sacctmgr(cluster, *accounts.CLUSTER)


def fill_accounts(cluster: Cluster) -> None:
    """Runs the sacctmgr commands, once for each version of them."""
    commands = accounts.commands(cluster)
    mark = cluster.root / "accounts"
    wanted = hashlib.sha256(repr(commands).encode()).hexdigest()
    if mark.exists() and mark.read_text() == wanted:
        return
    # The limits name GPUs, which are registered with the controller's first words to slurmdbd.
    known = wait_until(lambda: "gres|gpu|" in sacctmgr(cluster, "--parsable", "show", "tres"), 120.0)
    if not known:
        raise StairError("slurmctld did not tell slurmdbd of its GPUs", hint=f"logs are in {cluster.logs}")
    for words in commands:
        sacctmgr(cluster, *words)
    write_whole(mark, wanted)


def sacctmgr(cluster: Cluster, *words: str) -> str:
    """Runs sacctmgr and returns what it said; StairError at the first line that tells of an error."""
    said = run(["sacctmgr", "--immediate", *words], check=False, env=environment(cluster))
    with (cluster.logs / "sacctmgr.log").open("a") as log:
        log.write(f"$ sacctmgr {' '.join(words)}\n{said}")
    wrong = [line for line in said.splitlines() if "error:" in line]
    if wrong:
        raise StairError(f"sacctmgr {' '.join(words)}: {wrong[0]}", hint=f"logs are in {cluster.logs}")
    return said
