"""The device files of NVIDIA's driver, as this process can open them.

Takes one fact sheet. The surprise: a GPU's file that answers EPERM is no fault by itself, it is how Slurm
keeps a job to its own GPUs; only when none is left, or what all GPUs share is closed, the chain is broken.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.driver import KERNEL
from stair.doctor.findings.job import job_of
from stair.doctor.sheet import asked, control_nodes, gpu_nodes, rows, section, spared

MODESET = "/dev/nvidia-modeset"


def _node_missing(facts: Facts) -> Iterator[Finding]:
    driver = section(facts, "driver")
    if spared(facts) or not driver.get("version") or "nodes" not in driver:
        return
    paths = [str(node.get("path")) for node in control_nodes(facts) if node.get("errno") == errno.ENOENT]
    there = [str(node.get("path")) for node in gpu_nodes(facts) if node.get("errno") != errno.ENOENT]
    if not (facts.get("inside") and there):  # a container may have been given some GPUs only
        minors = sorted(str(gpu.get("minor")) for gpu in rows(facts, "driver", "gpus"))
        paths += [f"/dev/nvidia{minor}" for minor in minors if f"/dev/nvidia{minor}" not in there]
    if not paths:
        return
    inside = facts.get("side") == "image"
    yield Finding(
        "driver.node-missing",
        "error",
        f"{', '.join(paths)}: no such file, though the driver is loaded",
        "cuInit gives 100 'no CUDA-capable device is detected' or 999, NVML 'Insufficient Permissions' or no "
        "GPU, Vulkan ERROR_INITIALIZATION_FAILED",
        "start the container with --nv, and without --no-mount dev" if inside else "make them, as root",
        "apptainer exec --nv IMAGE ..." if inside else "nvidia-modprobe -c 0 -u",
    )


def _node_hidden(facts: Facts) -> Iterator[Finding]:
    if spared(facts):
        return
    gpus, hidden = gpu_nodes(facts), [n for n in gpu_nodes(facts) if n.get("errno") == errno.EPERM]
    closed = [node for node in control_nodes(facts) if node.get("errno") == errno.EPERM]
    if not closed and (not hidden or len(hidden) < len(gpus)):
        return
    paths = ", ".join(str(node.get("path")) for node in closed or hidden)
    in_job = bool(job_of(facts))
    yield Finding(
        "driver.node-hidden",
        "error",
        f"{paths}: Operation not permitted (EPERM), a cgroup keeps this process from the GPUs",
        "CUDA error 100 'no CUDA-capable device is detected', nvidia-smi 'No devices were found', Vulkan "
        "ERROR_INITIALIZATION_FAILED",
        "ask for GPUs; this job has none"
        if in_job and not closed
        else "inside a job ask for GPUs; what all GPUs share must stand in Slurm's "
        "cgroup_allowed_devices_file.conf",
        "srun --gres=gpu:1 ...",
    )


def _node_denied(facts: Facts) -> Iterator[Finding]:
    denied = [n for n in (*gpu_nodes(facts), *control_nodes(facts)) if n.get("errno") == errno.EACCES]
    if spared(facts) or not denied:
        return
    told = ", ".join(f"{n.get('path')} {n.get('mode') or ''} {n.get('owner') or ''}".strip() for n in denied)
    open_to_all = all(str(node.get("mode") or "").endswith("rw-") for node in denied)
    yield Finding(
        "driver.node-denied",
        "error",
        f"{told}: Permission denied (EACCES)",
        "CUDA error 100 or 999, NVML 'Insufficient Permissions', Vulkan ERROR_INITIALIZATION_FAILED; the "
        "mode allows everybody, so SELinux or AppArmor, or a nodev mount, denies"
        if open_to_all
        else "CUDA error 100 or 999, NVML 'Insufficient Permissions', Vulkan ERROR_INITIALIZATION_FAILED: "
        "the files are not open to this user",
        "the administrator allows devices for containers"
        if open_to_all
        else "the administrator sets NVreg_DeviceFileMode=0666 for the module, or adds the user to the group",
        "setsebool -P container_use_devices 1" if open_to_all else "chmod 0666 /dev/nvidia*",
    )


def _modeset(facts: Facts) -> Iterator[Finding]:
    driver = section(facts, "driver")
    bad = [n for n in rows(facts, "driver", "nodes") if n.get("path") == MODESET and n.get("errno")]
    module = "nvidia_modeset" in (driver.get("modules") or ("nvidia_modeset",))
    if spared(facts) or not driver.get("version") or (module and not bad):
        return
    seen = "the module nvidia_modeset is not loaded"
    if bad:
        seen = f"{MODESET}: {bad[0].get('error') or 'cannot be opened'}"
    yield Finding(
        "driver.modeset",
        "error" if asked(facts, "render", "") == "nvidia" else "warning",
        seen,
        "CUDA works; Vulkan and EGL may not: \"Could not get 'vkCreateInstance' via "
        "'vk_icdGetInstanceProcAddr' for ICD "
        'libGLX_nvidia.so.0", ERROR_INITIALIZATION_FAILED',
        "load the module and make the file, as root",
        "nvidia-modprobe -m",
    )


CHECKS = (
    Check("driver.node-missing", "the device files are there", _node_missing, (*KERNEL, "driver.uvm-module")),
    Check("driver.node-hidden", "no cgroup hides all GPUs", _node_hidden, KERNEL),
    Check("driver.node-denied", "the device files are open to this user", _node_denied, KERNEL),
    Check(
        "driver.modeset",
        "nvidia-modeset, which Vulkan and EGL open",
        _modeset,
        (*KERNEL, "driver.uvm-module", "driver.node-missing", "driver.node-hidden", "driver.node-denied"),
    ),
)
