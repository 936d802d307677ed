"""Whether the folders a run needs can be written to, have room, and are of the right kind.

The surprise: `df` shows room while nothing can be written, because the file system is out of inodes, the
user out of quota, or the kernel has made it read-only after an error; the words of the failed write tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stair.doctor.finding import Check, Facts, Finding, Level
from stair.doctor.sheet import rows, shared

FULL_MB, LOW_MB = 1_000, 20_000
"""A checkpoint at full size holds 30 GB and more, a small one some hundred MB."""
TEMPORARY_FULL_MB = 300
FEW_INODES = 1_000
SLOW_MB_S, SLOW_SYNC_MS = 5.0, 2_000.0
WITHOUT_INODES = ("btrfs", "zfs", "vfat", "9p", "fuse", "gpfs")
"""File systems that make inodes as they go, and say 0."""
NETWORK = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "cifs",
    "smb",
    "afs",
    "glusterfs",
    "panfs",
    "wekafs",
    "orangefs",
)
TEMPORARY = "temporary files"

TROUBLES: dict[str, tuple[str, str, str]] = {
    "disk.stale": (
        "Stale file handle",
        "the server has removed or moved the folder while this machine held it: every access fails with "
        "ESTALE",
        "leave the folder and enter it again; if that does not help, the administrator mounts it anew",
    ),
    "disk.disconnected": (
        "Transport endpoint is not connected",
        "the process behind a FUSE mount (sshfs, s3fs, squashfuse) has died",
        "unmount it and mount it again",
    ),
    "disk.quota": (
        "Disk quota exceeded",
        "the user's or project's quota is used up, whatever df says: checkpoints end with 'Disk quota "
        "exceeded'",
        "remove old runs and caches (~/.cache, ~/.apptainer), or take another folder: --run",
    ),
    "disk.read-only": (
        "Read-only file system",
        "every write fails with EROFS: mounted so, or the kernel has made it so after an error",
        "choose a folder on another file system (--run); dmesg tells about errors; in a container bind it "
        "without :ro",
    ),
    "disk.broken": (
        "Input/output error",
        "the disk or its server fails; what is read from it may be wrong",
        "take another folder or node, and tell the administrator",
    ),
}
"""Id → the kernel's words for it, what it means, what cures it."""


def on_network(disk: Facts) -> bool:
    """Whether a file system is a server's."""
    kind = str(disk.get("type") or "").lower()
    return kind.startswith(NETWORK) or kind.endswith(NETWORK)


def _said(disk: Facts) -> str:
    return str(disk.get("error") or "")


def _told(disk: Facts) -> str:
    return f"{disk.get('name')} {disk.get('path')} ({disk.get('type') or 'unknown file system'})"


def _level(disk: Facts) -> Level:
    """A home that cannot be written to is often meant so on compute nodes."""
    return "warning" if disk.get("name") == "home" else "error"


def _trouble(disk: Facts) -> str:
    """The one id that says why a disk is of no use; empty for one that is."""
    said = _said(disk)
    if said in ("timeout", "") and disk.get("writable") is not True:
        return "disk.hangs"
    for id, (words, _, _) in TROUBLES.items():
        if words.lower() in said.lower():
            return id
    if _out_of_inodes(disk) and not _full(disk):
        return "disk.inodes"
    if _full(disk) or "no space left" in said.lower():
        return "disk.full"
    if not disk.get("writable", True):
        return "disk.not-writable"
    return ""


def _full(disk: Facts) -> bool:
    free = disk.get("free_mb")
    return free is not None and free < (TEMPORARY_FULL_MB if disk.get("name") == TEMPORARY else FULL_MB)


def _out_of_inodes(disk: Facts) -> bool:
    free, kind = disk.get("free_inodes"), str(disk.get("type") or "")
    return free is not None and 0 <= free < FEW_INODES and not kind.startswith(WITHOUT_INODES)


def _each(id: str, tell: Callable[[Facts], Finding]) -> Callable[[Facts], Iterator[Finding]]:
    def judge(facts: Facts) -> Iterator[Finding]:
        if not shared(facts):
            yield from (tell(disk) for disk in rows(facts, "disks") if _trouble(disk) == id)

    return judge


def _in_words(id: str) -> Callable[[Facts], Finding]:
    words, means, cure = TROUBLES[id]
    return lambda disk: Finding(id, _level(disk), f"{_told(disk)}: {words}", means, cure)


def _tell_hangs(disk: Facts) -> Finding:
    return Finding(
        "disk.hangs",
        _level(disk),
        f"{_told(disk)}: writing a small file gave no answer in time",
        "programs that touch it hang in state D and cannot be killed, `df` and `ls` too: its server is gone "
        "or very busy, such as 'nfs: server … not responding'",
        "take another folder (--run) or node, and tell the administrator",
        f"timeout 10 ls {disk.get('path')}",
    )


def _tell_full(disk: Facts) -> Finding:
    return Finding(
        "disk.full",
        _level(disk),
        f"{_told(disk)}: {disk.get('free_mb') or 0:,.0f} MB are free",
        "'No space left on device' at the first checkpoint, log line or compiled kernel; a half-written file "
        "stays",
        "export TMPDIR to a folder with room"
        if disk.get("name") == TEMPORARY
        else "free some, or choose another place: --run",
        f"du -xsh {disk.get('path')}/* | sort -h | tail",
    )


def _tell_inodes(disk: Facts) -> Finding:
    return Finding(
        "disk.inodes",
        _level(disk),
        f"{_told(disk)}: {disk.get('free_inodes') or 0:,} files can still be made, though "
        f"{disk.get('free_mb') or 0:,.0f} MB are free",
        "'No space left on device' though df shows room: the file system is out of inodes (df -i)",
        "remove folders of many small files (unpacked data sets, conda environments, old caches)",
        f"du --inodes -x {disk.get('path')} | sort -n | tail",
    )


def _tell_not_writable(disk: Facts) -> Finding:
    return Finding(
        "disk.not-writable",
        _level(disk),
        f"{_told(disk)}: {_said(disk) or 'not writable'}",
        "runs fail at their start with 'Permission denied' (EACCES): the folder belongs to someone else, or "
        "a container was started without binding it",
        "choose a folder of your own: --run; in a container bind it",
        f"ls -ld {disk.get('path')}; id",
    )


def _low(facts: Facts) -> Iterator[Finding]:
    for disk in rows(facts, "disks"):
        free = disk.get("free_mb")
        if (
            not shared(facts)
            and disk.get("name") == "run folder"
            and not _trouble(disk)
            and free is not None
            and free < LOW_MB
        ):
            yield Finding(
                "disk.low",
                "warning",
                f"{_told(disk)}: {free / 1000:,.1f} GB are free",
                "a checkpoint at full size holds 30 GB and more",
                "choose a place with more room (--run), or keep fewer: checkpoint.keep",
            )


def _slow(facts: Facts) -> Iterator[Finding]:
    for disk in rows(facts, "disks"):
        rate, sync = disk.get("write_mb_s"), disk.get("sync_ms")
        slow = rate is not None and rate < SLOW_MB_S
        if shared(facts) or _trouble(disk) or not (slow or (sync or 0) > SLOW_SYNC_MS):
            continue
        yield Finding(
            "disk.slow",
            "warning",
            f"{_told(disk)}: {rate or 0:,.0f} MB/s, {sync or 0:,.0f} ms to make it durable",
            "saving a checkpoint of 30 GB takes half an hour and more, the job seems to hang",
            "take another file system, or look again later: its server may be busy",
        )


def _temporary(facts: Facts) -> Iterator[Finding]:
    for disk in rows(facts, "disks"):
        if not shared(facts) and disk.get("name") == TEMPORARY and on_network(disk):
            yield Finding(
                "disk.temporary-on-network",
                "warning",
                f"{_told(disk)} is a network file system",
                "sockets and locks fail ('AF_UNIX path too long', 'No locks available', .nfs… files that "
                "cannot be removed), compiled kernels of many ranks overwrite each other, Apptainer unpacks "
                "slowly",
                "point TMPDIR, TRITON_CACHE_DIR and APPTAINER_TMPDIR to a local disk",
                "export TMPDIR=/tmp",
            )


CHECKS = (
    *(
        Check(id, f"no folder is amiss by '{words}'", _each(id, _in_words(id)))
        for id, (words, _, _) in TROUBLES.items()
    ),
    Check("disk.hangs", "folders answer", _each("disk.hangs", _tell_hangs)),
    Check("disk.full", "room for files", _each("disk.full", _tell_full)),
    Check("disk.inodes", "inodes for files", _each("disk.inodes", _tell_inodes)),
    Check(
        "disk.not-writable",
        "run, temporary and home folder can be written to",
        _each("disk.not-writable", _tell_not_writable),
    ),
    Check("disk.low", "room for checkpoints", _low),
    Check("disk.slow", "checkpoints can be written in time", _slow),
    Check("disk.temporary-on-network", "temporary files are on a local disk", _temporary),
)
