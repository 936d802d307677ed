"""Facts about Vulkan driver files become findings. Pure.

A driver file (ICD) is a small JSON that names a library. What each fault looks like further up is said in
`means`, in the words the loader, vulkaninfo and SAPIEN print, so that a search for the message ends here.
"""

from __future__ import annotations

import re
from typing import Any

from stair.doctor.finding import Facts, Finding

OLDEST_API = (1, 1)
SIMULATORS = "SimplerEnv and ManiSkill"


def check_loader(facts: Facts) -> list[Finding]:
    """libvulkan.so.1, which finds the drivers."""
    loader = facts["vulkan"]["loader"]
    if loader["fine"]:
        return [Finding("vulkan.loader", "fine", "libvulkan.so.1 loads")]
    return [
        Finding(
            "vulkan.loader",
            "warning" if _has_gpu(facts) else "note",
            f"libvulkan.so.1 does not load: {loader['error']}",
            f"{SIMULATORS} cannot render from this Python (tabletop needs no Vulkan)",
            "apt-get install libvulkan1, or use the evaluation image",
        )
    ]


def check_variables(facts: Facts) -> list[Finding]:
    """VK_DRIVER_FILES wins over VK_ICD_FILENAMES where both are known; old loaders know only the latter."""
    variables = facts["variables"]
    new, old = variables.get("VK_DRIVER_FILES", ""), variables.get("VK_ICD_FILENAMES", "")
    if new == old:
        return []
    if new and old:
        seen = f"VK_DRIVER_FILES={new} and VK_ICD_FILENAMES={old}"
        means = "the first wins, the second is ignored; loaders before 1.3.207 do the opposite"
    elif new:
        seen = f"VK_DRIVER_FILES={new}, VK_ICD_FILENAMES not set"
        means = "loaders before 1.3.207 ignore it, and SAPIEN 2 fills the other with its own list"
    else:
        return []
    return [Finding("vulkan.variables", "warning", seen, means, "set both to the same value")]


def check_icds(facts: Facts) -> list[Finding]:
    """Every driver file, in the loader's order: there, JSON, complete, recent enough, loadable."""
    vulkan = facts["vulkan"]
    if not vulkan["icds"]:
        level = "error" if _has_gpu(facts) else "note"
        return [
            Finding(
                "vulkan.no-icd",
                level,
                "no Vulkan driver file in any known folder",
                f"ErrorIncompatibleDriver: {SIMULATORS} cannot render here (tabletop needs no Vulkan)",
                "install the driver's GL part (libnvidia-gl-VERSION) or, for the CPU, mesa-vulkan-drivers",
            )
        ]
    findings = [_check_icd(icd) for icd in vulkan["icds"]]
    if any(finding.level == "fine" for finding in findings):
        # One bad file among good ones is noise, except where the loader gives up over it.
        return [_softened(finding) for finding in findings]
    return findings


def check_nvidia_files(facts: Facts) -> list[Finding]:
    """With an NVIDIA GPU: its Vulkan and EGL driver files must be visible too."""
    if not _has_gpu(facts):
        return []
    findings = []
    if not any("nvidia" in icd["path"] for icd in facts["vulkan"]["icds"]):
        findings.append(
            Finding(
                "vulkan.no-nvidia-icd",
                "error",
                "there is an NVIDIA GPU, but no nvidia_icd.json among the Vulkan driver files",
                "rendering falls back to llvmpipe on the CPU, or finds no device at all",
                "Apptainer ≥ 1.4 with --nv, or bind the host's nvidia_icd*.json (see also /etc/vulkan/icd.d)",
            )
        )
    if not facts["nvidia"]["egl_vendors"]:
        findings.append(
            Finding(
                "egl.no-nvidia-vendor",
                "warning",
                "no NVIDIA file in glvnd/egl_vendor.d",
                "'Failed to find glvnd ICD file'; EGL rendering is off, pure Vulkan does not need it",
                "bind /usr/share/glvnd/egl_vendor.d/10_nvidia.json, or set __EGL_VENDOR_LIBRARY_FILENAMES",
            )
        )
    return findings


def _check_icd(icd: dict[str, Any]) -> Finding:
    path = icd["path"]
    if not icd["exists"]:
        return Finding(
            "vulkan.icd-missing",
            "error",
            f"{path} is named but does not exist",
            "the loader skips it: ErrorIncompatibleDriver when it was the only one",
            "correct VK_DRIVER_FILES and VK_ICD_FILENAMES, or bind the file into the container",
        )
    if icd["size"] == 0:
        return Finding(
            "vulkan.icd-empty", "error", f"{path} is empty", "the loader skips it", f"remove {path}"
        )
    if "broken" in icd:
        return Finding(
            "vulkan.icd-broken",
            "error",
            f"{path} is no driver file: {icd['broken']}",
            "the loader stops there for all drivers: createInstance ErrorOutOfHostMemory",
            f"repair or remove {path}",
        )
    version = icd["api_version"]
    if not version:
        return Finding(
            "vulkan.icd-no-api-version",
            "error",
            f"{path} has no 'api_version'",
            "'does not have an 'api_version' field. Skipping'",
            'add "api_version": "1.3.0" beside library_path',
        )
    if not icd["loads"]["fine"]:
        return Finding(
            "vulkan.icd-library",
            "error",
            f"{path}: its library does not load: {icd['loads']['error']}",
            "'Failed loading library associated with ICD JSON', then ErrorIncompatibleDriver",
            "install the GL part of the same driver version (libnvidia-gl-VERSION); --nv in Apptainer; "
            "'graphics' among NVIDIA_DRIVER_CAPABILITIES in Docker",
        )
    if tuple(int(part) for part in re.findall(r"\d+", str(version))[:2]) < OLDEST_API:
        return Finding(
            "vulkan.icd-api-version",
            "error",
            f"{path} says api_version {version}",
            "devices are listed, but SAPIEN reads their features as absent and calls them unsupported",
            'write "api_version": "1.3.0"',
        )
    return Finding("vulkan.icd", "fine", f"{path} → {icd['library']}, Vulkan {version}")


def _softened(finding: Finding) -> Finding:
    if finding.level != "error" or finding.id == "vulkan.icd-broken":
        return finding
    return Finding(finding.id, "warning", finding.seen, finding.means, finding.cure)


def _has_gpu(facts: Facts) -> bool:
    return bool(facts["nvidia"]["devices"])
