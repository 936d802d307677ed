"""The login node held against a compute node: what is made and planned on the one is used on the other.

Takes both sheets. The surprise: a clock that is ahead on the node proves nothing, since the node was asked
later, perhaps after a long wait; only one that is behind does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from stair.doctor.finding import Comparison, Facts, Finding
from stair.doctor.findings.disks import on_network
from stair.doctor.findings.purpose import numbers
from stair.doctor.sheet import rows, section

SKEW_S = 10.0
"""Probes of one srun start within a second or two."""
SKEW_FATAL_S = 300.0
"""How old a credential of munge may be."""


def clock(facts: Facts) -> float | None:
    found = facts.get("clock")
    return float(found) if isinstance(found, (int, float)) else None


def _behind(login: Facts, node: Facts) -> Iterator[Finding]:
    here, there = clock(login), clock(node)
    if here is None or there is None or here - there <= SKEW_S:
        return  # ahead it may be: the node was asked later
    yield Finding(
        "login.clock",
        "error" if here - there > SKEW_FATAL_S else "warning",
        f"the node's clock is {here - there:,.0f} s behind the login node's",
        "munge: 'Rewound credential' or 'Expired credential', Slurm 'Protocol authentication error'; files "
        "'from the future', make and caches build anew, TLS 'certificate is not yet valid'",
        "the administrator starts chrony or ntpd on the node",
        "timedatectl; chronyc tracking",
    )


def _login_python(login: Facts, node: Facts) -> Iterator[Finding]:
    here, there = (section(each, "python") for each in (login, node))
    if node.get("image_file") or not here.get("version") or not there.get("version"):
        return
    if list(here["version"][:2]) != list(there["version"][:2]):
        yield Finding(
            "login.python",
            "note",
            f"Python {_dots(here['version'])} on the login node, {_dots(there['version'])} on the node "
            f"({there.get('executable')})",
            "an environment made on one does not run on the other: 'bad interpreter', ModuleNotFoundError "
            "though it is installed",
            "name one interpreter on a shared disk in the profile, or run steps in an image",
        )


def _login_stair(login: Facts, node: Facts) -> Iterator[Finding]:
    here, there = (_package(each, "stair") for each in (login, node))
    if not node.get("image_file") and here and there and here != there:
        yield Finding(
            "login.stair",
            "warning",
            f"STAIR {here} on the login node, {there} on the node",
            "a plan made here is read by another version there: 'unexpected key', 'newer schema'",
            "install the same version, or use one environment on a shared disk",
            f"pip install stair=={here}",
        )


def _login_apptainer(login: Facts, node: Facts) -> Iterator[Finding]:
    if versions := _two_versions(login, node, "apptainer"):
        yield Finding(
            "login.apptainer",
            "warning",
            f"Apptainer {versions}",
            "an image that starts here may not start there; before 1.4.0 --nv binds no Vulkan files",
            "look at the node's version when an image misbehaves only in jobs",
            "srun apptainer --version",
        )


def _login_slurm(login: Facts, node: Facts) -> Iterator[Finding]:
    if versions := _two_versions(login, node, "slurm"):
        yield Finding(
            "login.slurm",
            "warning",
            f"Slurm {versions}",
            "'Incompatible versions of client and server code', options that the other side does not know",
            "use the cluster's own client: unload other modules of Slurm",
            "sinfo --version; srun sinfo --version",
        )


def _two_versions(login: Facts, node: Facts, name: str) -> str:
    """Both versions in words, where their first two numbers differ."""
    here, there = (section(each, name).get("version") for each in (login, node))
    if not here or not there or numbers(here)[:2] == numbers(there)[:2]:
        return ""
    return f"{here} on the login node, {there} on the node"


def _login_run_folder(login: Facts, node: Facts) -> Iterator[Finding]:
    here, there = (disk_of(each, "run folder") for each in (login, node))
    if not here or not there:
        return
    if (
        here.get("path") == there.get("path")
        and on_network(here) == on_network(there)
        and (on_network(here) or here.get("type") == there.get("type"))
    ):
        return
    local = on_network(here) and not on_network(there)
    yield Finding(
        "login.run-folder",
        "error" if local else "warning",
        f"the run folder is {here.get('path')} ({here.get('type')}) on the login node, {there.get('path')} "
        f"({there.get('type')}) on the node",
        "the node writes where the login node cannot read: 'No such file or directory' for settings and "
        "logs, a job that ends at once without output; the shared file system is not mounted on the node",
        "choose a folder that all nodes share (--run); if it should be shared, the administrator mounts it",
        f"srun -w {node.get('host') or 'NODE'} df -hT {here.get('path')}",
    )


def _package(facts: Facts, name: str) -> Any:
    return (section(facts, "python").get("packages") or {}).get(name)


def disk_of(facts: Facts, name: str) -> Facts:
    return next((disk for disk in rows(facts, "disks") if disk.get("name") == name), {})


def _dots(version: Sequence[int]) -> str:
    return ".".join(map(str, version[:2]))


COMPARISONS = (
    Comparison("login.clock", "the clocks of login and compute node", "login-compute", _behind),
    Comparison(
        "login.run-folder",
        "the run folder is the same on both",
        "login-compute",
        _login_run_folder,
        ("disk.",),
    ),
    Comparison("login.stair", "one version of STAIR on both", "login-compute", _login_stair),
    Comparison(
        "login.python",
        "one Python on both, where no image is used",
        "login-compute",
        _login_python,
        ("python.version",),
    ),
    Comparison(
        "login.apptainer",
        "one version of Apptainer on both",
        "login-compute",
        _login_apptainer,
        ("apptainer.",),
    ),
    Comparison("login.slurm", "one version of Slurm on both", "login-compute", _login_slurm, ("slurm.",)),
)
