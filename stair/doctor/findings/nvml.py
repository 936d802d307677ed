"""What the driver says of itself: by NVML, which nvidia-smi asks too, and in the kernel's log.

Takes one fact sheet. The surprise: a driver that gives no answer is the plainest diagnosis of all, and the
one on which other tools hang.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.driver import KERNEL
from stair.doctor.findings.purpose import numbers
from stair.doctor.sheet import failed, rows, section, spared, timed_out

TIMEOUT, LOST, RESET, MISMATCH = 10, 15, 16, 18
"""Codes of NVML."""
FATAL_XIDS = {
    79: "GPU has fallen off the bus",
    95: "uncontained memory error",
    119: "GSP RPC timeout: the GPU's own processor does not answer",
    120: "GSP error",
}
"""After these only a reset of the GPU, or of the machine, helps."""


def _hangs(facts: Facts) -> Iterator[Finding]:
    stuck = [str(n.get("path")) for n in rows(facts, "driver", "nodes") if n.get("errno") == errno.ETIMEDOUT]
    if not spared(facts) and (stuck or timed_out(facts, "nvml")):
        yield Finding(
            "driver.hangs",
            "error",
            f"NVIDIA's driver gives no answer ({', '.join(stuck) or 'NVML'})",
            "nvidia-smi hangs, and every CUDA program with it, unkillable in state D: a GPU or its firmware "
            "is stuck",
            "another node, and the administrator resets the GPU or the machine",
            _exclude(facts),
        )


def _mismatch(facts: Facts) -> Iterator[Finding]:
    nvml, module = section(facts, "nvml"), section(facts, "driver").get("version")
    library = nvml.get("version")
    differs = bool(library and module and numbers(library) != numbers(module))
    if spared(facts) or not (nvml.get("code") == MISMATCH or differs):
        return
    versions = f": kernel module {module or '?'}, library {library or _library_version(facts) or '?'}"
    yield Finding(
        "driver.mismatch",
        "error",
        f"the driver's library and its kernel module are of different versions{versions}",
        "'Failed to initialize NVML: Driver/library version mismatch', CUDA error 803 'system has "
        "unsupported display driver / cuda driver combination': the driver was updated under the running "
        "module",
        "the administrator reboots or drains the node; in an image remove driver libraries that were baked "
        "in",
        _exclude(facts),
    )


def _lost(facts: Facts) -> Iterator[Finding]:
    nvml = section(facts, "nvml")
    xids = [(number, line) for number, line in xids_of(facts) if number in FATAL_XIDS]
    code = nvml.get("code")
    if spared(facts) or not (xids or code in (LOST, RESET, TIMEOUT)):
        return
    if xids:
        number, line = xids[-1]
        seen = f"Xid {number}, {FATAL_XIDS[number]}: {line}"
    else:
        seen = f"NVML: {nvml.get('error') or f'error {code}'} (code {code})"
    yield Finding(
        "driver.gpu-lost",
        "error",
        seen,
        "'NVRM: Xid' in the kernel log, 'Unable to determine the device handle for GPU', 'GPU is lost', CUDA "
        "errors 700, 719 or 999, NCCL WARN 'unhandled cuda error', Vulkan ErrorDeviceLost",
        "another node; the administrator drains this one, resets the GPU (nvidia-smi -r) or reboots it",
        _exclude(facts),
    )


def _nvml(facts: Facts) -> Iterator[Finding]:
    nvml, what = section(facts, "nvml"), failed(facts, "nvml")
    code = nvml.get("code")
    if (
        spared(facts)
        or timed_out(facts, "nvml")
        or code in (MISMATCH, LOST, RESET, TIMEOUT)
        or not (what or code)
    ):
        return
    yield Finding(
        "driver.nvml",
        "unknown" if what else "error",
        f"NVML, which nvidia-smi asks too, fails: {what or nvml.get('error') or ''} (code {code})",
        "nvidia-smi fails alike, such as 'NVIDIA-SMI has failed because it couldn't communicate with the "
        "NVIDIA driver'",
        "what stands above it is the cause; if nothing does, another node",
        "nvidia-smi",
    )


def xids_of(facts: Facts) -> list[tuple[int, str]]:
    """(Number, line) of every Xid in the kernel log, oldest first."""
    found = []
    for line in section(facts, "driver").get("xids") or ():
        number = str(line).partition("):")[2].strip().partition(",")[0]
        if number.isdigit():
            found.append((int(number), str(line).strip()))
    return found


def _library_version(facts: Facts) -> str:
    found = {row.get("name"): row.get("version") for row in rows(facts, "libraries")}
    return str(found.get("libnvidia-ml.so.1") or "")


def _exclude(facts: Facts) -> str:
    return f"sbatch --exclude={facts.get('host')} ..." if facts.get("host") else ""


CHECKS = (
    Check("driver.hangs", "the driver answers", _hangs, KERNEL),
    Check("driver.gpu-lost", "no GPU has fallen off the bus", _lost, (*KERNEL, "driver.hangs")),
    Check("driver.mismatch", "driver library and kernel module are of one version", _mismatch, KERNEL),
    Check("driver.nvml", "NVML answers without error", _nvml, ("driver.",)),
)
