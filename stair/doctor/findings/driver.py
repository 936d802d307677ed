"""NVIDIA's kernel driver and its user part: whether they are there at all.

Takes one fact sheet. The surprise: a login node without any of it is healthy, and so is a compute node that
nobody asked a GPU of; what is missing here explains every later failure of CUDA and Vulkan.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.purpose import has_nvidia
from stair.doctor.sheet import asked, control_nodes, failed, gpu_nodes, needs_gpu, rows, section, spared

NO_DRIVER = (0, errno.ENXIO, errno.ENODEV)
"""What opening a device file answers that does not depend on who asks; the last two: nobody serves it."""


def _absent(facts: Facts) -> Iterator[Finding]:
    if spared(facts) or "driver" not in facts or failed(facts, "driver"):
        return
    driver = section(facts, "driver")
    if (
        not needs_gpu(facts)
        or has_nvidia(facts)
        or control_nodes(facts)
        or driver.get("pci")
        or driver.get("smi")
    ):
        return
    what = f"{asked(facts, 'gpus_per_node')} GPU(s)" if asked(facts, "gpus_per_node") else "drawing by NVIDIA"
    yield Finding(
        "driver.absent",
        "error",
        f"there is no NVIDIA driver on this machine, and {what} was asked for",
        "'Found no NVIDIA driver on your system', torch.cuda.is_available() is False, "
        "ERROR_INCOMPATIBLE_DRIVER",
        "send the job to a partition with GPUs; without one: --render cpu, and no GPUs",
        "sinfo -o '%P %G %N'",
    )


def _no_module(facts: Facts) -> Iterator[Finding]:
    driver = section(facts, "driver")
    modules, cards = driver.get("modules") or (), rows(facts, "driver", "pci")
    if not driver or driver.get("version") or driver.get("text") or spared(facts):
        return
    nodes = [node for node in (*gpu_nodes(facts), *control_nodes(facts)) if node.get("errno") in NO_DRIVER]
    if not (nodes or cards or driver.get("smi")) or "nvidia" in modules:
        return
    signs = [f"{len(cards)} GPU(s) on the PCI bus"] if cards else []
    signs += [str(node.get("path")) for node in nodes[:2]] + (
        [str(driver["smi"])] if driver.get("smi") else []
    )
    nouveau = "nouveau" in modules
    yield Finding(
        "driver.module",
        "error",
        f"the kernel module 'nvidia' is not loaded, though here are {', '.join(signs)}"
        + ("; 'nouveau' is loaded instead" if nouveau else ""),
        "'NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver', NVML 'Driver Not "
        "Loaded', CUDA error 100 'no CUDA-capable device is detected' or 999: after a kernel update the "
        "module is often not built",
        "the administrator builds and loads it (dkms status); until then another node"
        + ("; blacklist nouveau" if nouveau else ""),
        "modprobe nvidia && nvidia-modprobe -c 0 -u",
    )


def _submodules(facts: Facts) -> Iterator[Finding]:
    driver = section(facts, "driver")
    modules = driver.get("modules") or ()
    if not driver.get("version") or spared(facts) or "nvidia" not in modules or "nvidia_uvm" in modules:
        return
    yield Finding(
        "driver.uvm-module",
        "error",
        "the kernel module nvidia_uvm is not loaded, nvidia is",
        "nvidia-smi works, CUDA does not: cuInit gives 999 'unknown error' or 'CUDA unknown error - this may "
        "be due to an incorrectly set up environment'",
        "load it as root; nvidia-modprobe does it at every start of the machine",
        "nvidia-modprobe -c 0 -u",
    )


def _libcuda(facts: Facts) -> Iterator[Finding]:
    if facts.get("cuda", "") is not None or not section(facts, "driver").get("version"):
        return
    yield Finding(
        "driver.libcuda",
        "error",
        "the kernel module is loaded, but there is no libcuda.so.1",
        "'libcuda.so.1: cannot open shared object file', torch.cuda.is_available() is False: the driver's "
        "user part is not installed, or not in the linker's cache",
        "the administrator installs the user part in the module's very version, or runs ldconfig",
        "ldconfig -p | grep libcuda",
    )


KERNEL = ("driver.absent", "driver.module")
"""What explains everything that comes after."""

CHECKS = (
    Check("driver.absent", "an NVIDIA driver where GPUs are asked for", _absent, where="host"),
    Check("driver.module", "the kernel module 'nvidia' is loaded", _no_module),
    Check("driver.uvm-module", "the kernel module 'nvidia_uvm' is loaded", _submodules, KERNEL),
    Check("driver.libcuda", "libcuda.so.1 beside the kernel module", _libcuda, KERNEL, where="host"),
)
