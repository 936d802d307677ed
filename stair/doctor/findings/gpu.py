"""The GPUs one by one, as NVML describes them, and what the kernel log tells of them.

Takes one fact sheet of a machine whose driver is sound; what is wrong with that stands in driver.py and
explains what is found here. The surprise: most of it stops no program, it only makes one wait or lie.
"""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.nvml import xids_of
from stair.doctor.sheet import asked, gpu_nodes, rows, section, spared

HOT_C = 90
MUCH_USED = 0.1
"""Of a GPU's memory, held while no process of ours runs: a driver's own share is under one per cent."""
SLOW_REASONS = ("hw-slowdown", "hw-thermal-slowdown", "hw-power-brake", "sw-thermal-slowdown")
XIDS = {
    48: "uncorrectable (double bit) memory error",
    63: "a memory row was remapped; a reset of the GPU makes it take effect",
    64: "a memory row could not be remapped",
    74: "NVLink error",
    92: "many corrected memory errors",
    94: "contained memory error: the program that met it was ended",
    140: "unrecovered memory error",
    143: "GPU initialization failed",
}
"""Those of the hardware that do not end all work at once; 13, 31, 43 and 45 are faults of programs."""


def _xid(facts: Facts) -> Iterator[Finding]:
    found = {number: line for number, line in xids_of(facts) if number in XIDS}
    if spared(facts):
        return
    for number, line in found.items():
        yield Finding(
            "gpu.xid",
            "warning",
            f"Xid {number}, {XIDS[number]}: {line}",
            "since the machine was started a GPU has failed once ('NVRM: Xid' in the kernel log): programs "
            "on it end with CUDA error 'uncorrectable ECC error encountered', 'an illegal memory access' or "
            "a hang in NCCL",
            "if jobs fail here and not elsewhere, leave the node out and tell the administrator",
            f"sbatch --exclude={facts.get('host')} ..." if facts.get("host") else "",
        )


def _missing(facts: Facts) -> Iterator[Finding]:
    nvml, cards = section(facts, "nvml"), rows(facts, "driver", "gpus")
    hidden = sum(bool(node.get("errno")) for node in gpu_nodes(facts))
    seen = {str(gpu.get("pci")).lower() for gpu in rows(facts, "nvml", "gpus")}
    lost = [str(card.get("pci")) for card in cards if str(card.get("pci")).lower() not in seen]
    if spared(facts) or not nvml or nvml.get("code") or not cards or len(seen) + hidden >= len(cards):
        return
    yield Finding(
        "gpu.missing",
        "error",
        f"the driver has {len(cards)} GPUs, NVML tells of {len(seen)}: nothing of {', '.join(lost)}",
        "nvidia-smi says 'Unable to determine the device handle for GPU …: Unknown Error'; jobs with fewer "
        "GPUs than asked for fail or run on the wrong one",
        "another node; the administrator resets it",
        "nvidia-smi -L; dmesg | grep -i xid",
    )


def _ecc(facts: Facts) -> Iterator[Finding]:
    for gpu in _gpus(facts):
        if gpu.get("ecc_errors"):
            yield Finding(
                "gpu.ecc",
                "error",
                f"{_name(gpu)}: {gpu['ecc_errors']} uncorrected memory errors since the last start",
                "CUDA error 214 'uncorrectable ECC error encountered', or a hang in NCCL; results may be "
                "wrong",
                "another node; the administrator resets the GPU so that the row is remapped, else replaces "
                "it",
                "nvidia-smi -q -d ECC,ROW_REMAPPER",
            )


def _throttle(facts: Facts) -> Iterator[Finding]:
    for gpu in _gpus(facts):
        reasons = [reason for reason in gpu.get("throttle") or () if reason in SLOW_REASONS]
        if reasons or (gpu.get("temperature_c") or 0) >= HOT_C:
            yield Finding(
                "gpu.throttled",
                "warning",
                f"{_name(gpu)}: {gpu.get('temperature_c')} °C, slowed down by "
                f"{', '.join(reasons) or 'its heat soon'}",
                "steps take longer without an error; in data-parallel training all ranks wait for this one",
                "leave the node out for long runs; the administrator looks at cooling and power supply",
                "nvidia-smi -q -d PERFORMANCE,TEMPERATURE",
            )


def _prohibited(facts: Facts) -> Iterator[Finding]:
    for gpu in _gpus(facts):
        if str(gpu.get("compute_mode") or "").startswith("prohibited"):
            yield Finding(
                "gpu.prohibited",
                "error",
                f"{_name(gpu)}: compute mode is 'prohibited'",
                "CUDA error 46 'all CUDA-capable devices are busy or unavailable', or 100 'no CUDA-capable "
                "device'",
                "the administrator sets it to the default",
                f"nvidia-smi -i {gpu.get('index')} -c DEFAULT",
            )


def _exclusive(facts: Facts) -> Iterator[Finding]:
    for gpu in _gpus(facts):
        if str(gpu.get("compute_mode") or "").startswith("exclusive"):
            yield Finding(
                "gpu.exclusive",
                "error" if asked(facts, "layout") == "colocated" else "warning",
                f"{_name(gpu)}: compute mode is '{gpu['compute_mode']}', one process may use it",
                "the second process (policy beside simulator, several simulators, ranks sharing a GPU) ends "
                "with CUDA error 46 'all CUDA-capable devices are busy or unavailable'; SAPIEN warns of "
                "EXCLUSIVE_PROCESS",
                "the administrator sets it to the default; until then one process per GPU (layout split)",
                f"nvidia-smi -i {gpu.get('index')} -c DEFAULT",
            )


def _mig(facts: Facts) -> Iterator[Finding]:
    slices = [gpu for gpu in _gpus(facts) if gpu.get("mig")]
    visible = str(section(facts, "variables").get("CUDA_VISIBLE_DEVICES") or "").startswith("MIG-")
    if not slices and not (visible and not spared(facts)):
        return
    drawing = asked(facts, "render", "") == "nvidia"
    told = ", ".join(_name(gpu) for gpu in slices) or "CUDA_VISIBLE_DEVICES names a MIG slice"
    yield Finding(
        "gpu.mig",
        "error" if drawing else "note",
        f"divided into MIG slices: {told}",
        "graphics are not available in MIG mode: no NVIDIA device in Vulkan, SAPIEN 3 'Failed to find a "
        "supported "
        'physical device "cuda:0"\'; CUDA sees one slice per process',
        "draw on a whole GPU (another partition or node), or on the CPU: --render cpu",
        "sinfo -o '%P %G %N'",
    )


def _busy(facts: Facts) -> Iterator[Finding]:
    for gpu in _gpus(facts):
        used, total = gpu.get("used_mb") or 0, gpu.get("memory_mb") or 0
        if gpu.get("processes") or (total and used / total > MUCH_USED):
            yield Finding(
                "gpu.busy",
                "warning",
                f"{_name(gpu)}: {gpu.get('processes') or 'no visible'} process(es), {used / 1000:,.1f} of "
                f"{total / 1000:,.0f} GB in use",
                "'CUDA out of memory … this process has … in use', with a model that fits an empty GPU: "
                "another job shares it, or a crashed one still holds it",
                "ask for whole GPUs (--exclusive); end what is left over, or take another node",
                "nvidia-smi --query-compute-apps=pid,used_memory,name --format=csv",
            )


def _gpus(facts: Facts) -> list[Facts]:
    """NVML's GPUs; none in an image whose host tells of the same."""
    return [] if spared(facts) else rows(facts, "nvml", "gpus")


def _name(gpu: Facts) -> str:
    return f"GPU {gpu.get('index')} ({gpu.get('name')}, {gpu.get('pci')})"


CHECKS = (
    Check("gpu.missing", "NVML tells of every GPU that the driver has", _missing, ("driver.",)),
    Check("gpu.prohibited", "GPUs are open to CUDA", _prohibited),
    Check("gpu.ecc", "no uncorrected memory errors", _ecc, ("driver.gpu-lost",)),
    Check("gpu.xid", "no Xid of the hardware in the kernel log", _xid, ("driver.gpu-lost", "gpu.ecc")),
    Check("gpu.mig", "whole GPUs, where something is drawn", _mig),
    Check("gpu.exclusive", "several processes may use a GPU", _exclusive),
    Check("gpu.busy", "GPUs are free", _busy),
    Check("gpu.throttled", "GPUs run at their full clock", _throttle),
)
