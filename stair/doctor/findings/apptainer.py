"""Whether images can be started on a host: Apptainer, the rights it needs, and what --nv binds.

The surprise: user namespaces are not needed where Apptainer is installed setuid, nor by root; only without
all three nothing starts.
"""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.purpose import numbers
from stair.doctor.sheet import asked, section

WITH_ICDS, WITH_GPUCOMP = (1, 4), (1, 2, 4)
"""Apptainer's versions since which --nv binds Vulkan's and EGL's files, and libnvidia-gpucomp."""
GPUCOMP_DRIVER = 545
"""NVIDIA's driver has needed libnvidia-gpucomp since about here."""


def _absent(facts: Facts) -> Iterator[Finding]:
    apptainer = section(facts, "apptainer")
    in_image = facts.get("image_file") or asked(facts, "kind")
    if apptainer.get("found") is not False or facts.get("role") == "login" or not in_image:
        return
    yield Finding(
        "apptainer.absent",
        "error",
        "there is no apptainer or singularity in PATH",
        "a job that runs in an image ends with 'apptainer: command not found', exit 127",
        "many clusters have it as a module; else the administrator installs it, or you its unprivileged "
        "installer (install-unprivileged.sh)",
        "module avail apptainer; command -v apptainer singularity",
    )


def _fails(facts: Facts) -> Iterator[Finding]:
    apptainer = section(facts, "apptainer")
    said = str(apptainer.get("error") or "").strip()
    if apptainer.get("found") and (apptainer.get("code") or said):
        yield Finding(
            "apptainer.fails",
            "error",
            f"{apptainer.get('path')} does not start: {said or 'exit ' + str(apptainer['code'])}",
            "no image can run here; Apptainer's own failures end with exit 255 and 'FATAL:'",
            "repair the installation, or take another node",
            f"{apptainer.get('path')} --version",
        )


def _namespaces(facts: Facts) -> Iterator[Finding]:
    apptainer = section(facts, "apptainer")
    root = section(facts, "system").get("uid") == 0
    if (
        not apptainer.get("found")
        or apptainer.get("user_namespaces") is not False
        or apptainer.get("setuid")
        or root
    ):
        return
    yield Finding(
        "apptainer.no-namespaces",
        "error",
        "user namespaces are switched off, and Apptainer is not installed setuid",
        "'FATAL: … failed to create user namespace', 'Operation not permitted', 'No space left on device' or "
        "'not allowed to create user namespaces'; the limit is in /proc/sys/user/max_user_namespaces, on "
        "Ubuntu 24.04 AppArmor's",
        "the administrator switches them on, or installs apptainer-suid",
        "sysctl -w user.max_user_namespaces=15000 kernel.apparmor_restrict_unprivileged_userns=0",
    )


def _old(facts: Facts) -> Iterator[Finding]:
    apptainer = section(facts, "apptainer")
    version = numbers(apptainer.get("version"))
    if not section(facts, "driver").get("version") or not version or "ce" in str(apptainer.get("version")):
        return
    if version >= WITH_ICDS:
        return
    more = "; nor libnvidia-gpucomp, which drivers from 545 on need" if version < WITH_GPUCOMP else ""
    yield Finding(
        "apptainer.old",
        "warning",
        f"Apptainer {apptainer['version']}: before 1.4.0 --nv does not bind the driver files of Vulkan and "
        f"EGL{more}",
        "in the image: 'Failed to find Vulkan ICD file', vk::createInstanceUnique: ErrorIncompatibleDriver, "
        "or drawing on the CPU (llvmpipe) without an error; images of STAIR bring files of their own and "
        "name them",
        "a newer Apptainer; for other images bind the host's files",
        "apptainer exec --nv --bind "
        "/usr/share/vulkan/icd.d/nvidia_icd.json,/usr/share/glvnd/egl_vendor.d/10_nvidia.json IMAGE ...",
    )


def _nvliblist(facts: Facts) -> Iterator[Finding]:
    listed = section(facts, "apptainer").get("nvliblist")
    driver = numbers(section(facts, "driver").get("version"))
    if not listed or not driver:
        return
    needed = ["libGLX_nvidia.so", "libnvidia-glcore.so", "libnvidia-glvkspirv.so"]
    needed += ["libnvidia-gpucomp.so"] if driver[0] >= GPUCOMP_DRIVER else []
    missing = [name for name in needed if not any(str(line).startswith(name) for line in listed)]
    if missing:
        yield Finding(
            "apptainer.nvliblist",
            "warning",
            f"--nv does not bind {', '.join(missing)}: not in nvliblist.conf",
            "in the image: 'driver was unable to open libnvidia-glvkspirv.so', vkCreateDevice fails, or "
            "\"Could not get 'vkCreateInstance' via vk_icdGetInstanceProcAddr\"",
            "the administrator adds the lines, or installs a newer Apptainer (1.2.4 has them)",
            f"printf '%s\\n' {' '.join(missing)} >> /etc/apptainer/nvliblist.conf",
        )


CHECKS = (
    Check("apptainer.absent", "Apptainer, where an image shall run", _absent, where="host"),
    Check("apptainer.fails", "Apptainer starts", _fails, where="host"),
    Check(
        "apptainer.no-namespaces",
        "Apptainer may make user namespaces, or is setuid",
        _namespaces,
        where="host",
    ),
    Check("apptainer.old", "an Apptainer whose --nv binds Vulkan's files", _old, where="host"),
    Check(
        "apptainer.nvliblist",
        "--nv binds what the driver needs",
        _nvliblist,
        ("apptainer.old",),
        where="host",
    ),
)
