"""Vulkan's devices, and what stands in SAPIEN's way to them, become findings. Pure.

Takes the devices that the loader listed, hands on whether the right one is there and has what SAPIEN 2 and 3
demand. The surprise: a CPU device among them is no comfort: where a GPU was meant, it draws in its place and
says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.purpose import (
    chose_cpu,
    draws,
    has_nvidia,
    image_kind,
    inside,
    is_cpu,
    level_of,
    listed,
    sapiens,
    wants_nvidia,
)
from stair.doctor.findings.vulkan_files import INCOMPATIBLE
from stair.doctor.findings.vulkan_icds import OURS, name_file
from stair.doctor.sheet import asked, rows, section

MESA_FOR_SAPIEN_2 = 26
CODES = {
    "VK_ERROR_INCOMPATIBLE_DRIVER": INCOMPATIBLE,
    "VK_ERROR_OUT_OF_HOST_MEMORY": "'createInstanceUnique: ErrorOutOfHostMemory': most often a malformed "
    "driver file, not memory",
    "VK_ERROR_INITIALIZATION_FAILED": "'enumeratePhysicalDevices: ErrorInitializationFailed': the driver "
    "could not open the hardware",
}


def _instance(facts: Facts) -> Iterator[Finding]:
    instance = section(facts, "vulkan").get("instance") or {}
    if not instance or instance.get("code") == 0 or not draws(facts):
        return
    how, name = instance.get("how"), str(instance.get("name") or "")
    seen = {
        "timeout": "creating a Vulkan instance gives no answer",
        "signal": f"creating a Vulkan instance ends the process: {instance.get('failed')}",
    }.get(str(how), f"vkCreateInstance says {name or instance.get('failed')}")
    means = {
        "timeout": "simulators hang at their start: a driver or a layer waits for ever",
        "signal": "segmentation fault in SapienRenderer() (exit 139)",
    }.get(str(how), CODES.get(name, "no simulator can draw"))
    said = str(section(facts, "vulkan").get("said") or "").strip().splitlines()
    yield Finding(
        "vulkan.instance",
        level_of(facts),
        seen + (f"; the loader's last words: {said[-1][:200]}" if said else ""),
        means,
        "see what the loader tries, one driver file at a time",
        "VK_LOADER_DEBUG=error,warn,driver vulkaninfo --summary",
    )


def _no_device(facts: Facts) -> Iterator[Finding]:
    vulkan = section(facts, "vulkan")
    fine = (vulkan.get("instance") or {}).get("code") == 0
    if not fine or vulkan.get("devices") != [] or not draws(facts):
        return
    yield Finding(
        "vulkan.no-device",
        level_of(facts),
        f"{len(rows(facts, 'vulkan', 'icds'))} driver file(s), an instance, but no device",
        "'Cannot find a suitable rendering device', 'Failed to find a supported physical device'",
        "check the device nodes (/dev/nvidia*) and the driver's libraries; --render cpu draws without a GPU",
        name_file(f"{OURS}/lvp_icd.json") if image_kind(facts) == "eval" and not wants_nvidia(facts) else "",
    )


def _cpu_only(facts: Facts) -> Iterator[Finding]:
    devices = rows(facts, "vulkan", "devices")
    render = asked(facts, "render")
    if not devices or not all(map(is_cpu, devices)) or render == "cpu" or image_kind(facts) == "train":
        return
    if render != "nvidia" and not has_nvidia(facts):
        return
    if not inside(facts) and not draws(facts):
        return
    chosen = chose_cpu(facts)
    yield Finding(
        "vulkan.cpu-only",
        "error" if render == "nvidia" or (draws(facts) and not chosen) else "warning",
        f"only the CPU draws here ({devices[0].get('name')}), though "
        + ("NVIDIA was asked for" if render == "nvidia" else "there is an NVIDIA GPU")
        + ("; the variables name the CPU's driver file" if chosen else ""),
        "evaluations run, about ten times as slow, and ray-traced tasks not at all",
        "name NVIDIA's driver file, and start the container with --nv; keep it so where the CPU is to draw",
        name_file(f"{OURS}/nvidia_icd.json") if image_kind(facts) == "eval" else "",
    )


def _lacks(facts: Facts) -> Iterator[Finding]:
    devices = rows(facts, "vulkan", "devices")
    for generation in sorted(sapiens(facts)):
        lacking = {
            str(device.get("name")): (device.get("lacks") or {}).get(f"sapien{generation}") or []
            for device in devices
        }
        if not lacking or not all(lacking.values()) or not draws(facts):
            continue
        name, words = next(iter(lacking.items()))
        device = devices[0]
        old = is_cpu(device) and generation == 2
        yield Finding(
            "vulkan.device-lacks",
            "error",
            f"{name} ({device.get('driver_info') or device.get('driver')}) lacks {listed(words)}, which "
            f"SAPIEN {generation} demands",
            "'createDeviceUnique: ErrorExtensionNotPresent', 'Cannot find a suitable rendering device'"
            if generation == 2
            else "'Failed to find a supported physical device'",
            f"Mesa {MESA_FOR_SAPIEN_2} or later draws SAPIEN 2 on the CPU; our evaluation image has it"
            if old
            else "a newer driver; on the CPU Mesa 25 or later",
            "containers/build eval" if is_cpu(device) else "",
        )


def _ray_tracing(facts: Facts) -> Iterator[Finding]:
    value = section(facts, "variables").get("SAPIEN_DISABLE_RAY_TRACING")
    devices = rows(facts, "vulkan", "devices")
    if not value or value == "0" or 3 not in sapiens(facts) or not devices or not all(map(is_cpu, devices)):
        return
    yield Finding(
        "vulkan.no-ray-tracing",
        "error",
        f"SAPIEN_DISABLE_RAY_TRACING={value}, and only the CPU draws ({devices[0].get('name')})",
        "SAPIEN 3 accepts a CPU only for its ray tracing: 'Failed to find a supported physical device "
        '"cpu"\'',
        "unset it: it is meant for GPUs",
        "unset SAPIEN_DISABLE_RAY_TRACING",
    )


def _display(facts: Facts) -> Iterator[Finding]:
    display = section(facts, "variables").get("DISPLAY")
    if not display or not draws(facts):
        return
    yield Finding(
        "vulkan.display",
        "warning",
        f"DISPLAY={display}",
        "a simulator that is not told offscreen_only=True looks for a window there: it hangs or crashes in "
        "SapienRenderer(), takes GPU 0 whatever was given, or says ErrorExtensionNotPresent",
        "unset it for evaluations (ours do so themselves)",
        "unset DISPLAY WAYLAND_DISPLAY",
    )


def _count(facts: Facts) -> Iterator[Finding]:
    """Vulkan does not read CUDA_VISIBLE_DEVICES: its list and CUDA's may differ."""
    drawing, computing = _gpus(facts), rows(facts, "cuda", "devices")
    if not drawing or not computing or not draws(facts):
        return
    missing = [
        str(device.get("pci") or device.get("uuid"))
        for device in computing
        if not any(_may_be(device, other) for other in drawing)
    ]
    if missing:
        yield Finding(
            "vulkan.device-count",
            "error",
            f"CUDA has {len(computing)} GPU(s), Vulkan {len(drawing)}: {listed(missing)} does not draw",
            "works on some GPUs only; 'createDevice ErrorInitializationFailed' or a hang on the others",
            "look at that card (Xid in dmesg), leave it out, or give its work to another node",
            "stair-doctor --deep",
        )
    elif len(drawing) > len(computing):
        yield Finding(
            "vulkan.device-count",
            "note",
            f"Vulkan has {len(drawing)} GPUs, CUDA {len(computing)}: Vulkan does not read "
            "CUDA_VISIBLE_DEVICES",
            "with an explicit device SAPIEN 2 takes GPU 0, also when it belongs to another job",
            "give SAPIEN no device; CUDA_DEVICE_ORDER=PCI_BUS_ID makes both count alike; cgroups keep jobs "
            "apart",
            "export CUDA_DEVICE_ORDER=PCI_BUS_ID",
        )


def _software(facts: Facts) -> Iterator[Finding]:
    """A CPU is asked for, but none draws."""
    devices = rows(facts, "vulkan", "devices")
    if asked(facts, "render") != "cpu" or not devices or any(map(is_cpu, devices)) or not draws(facts):
        return
    yield Finding(
        "vulkan.no-cpu-device",
        "error",
        f"the CPU is to draw, but only {listed(str(device.get('name')) for device in devices)} can",
        "'Failed to find a supported physical device \"cpu\"'",
        "name the CPU's driver file",
        name_file(f"{OURS}/lvp_icd.json")
        if image_kind(facts) == "eval"
        else "apt-get install mesa-vulkan-drivers",
    )


def _gpus(facts: Facts) -> list[Facts]:
    return [device for device in rows(facts, "vulkan", "devices") if not is_cpu(device)]


def _may_be(one: Facts, other: Facts) -> bool:
    """Whether two may be the same GPU: by where they sit, else by UUID; what is not known speaks for it."""
    for tell in (_pci, _uuid):
        if tell(one) and tell(other):
            return tell(one) == tell(other)
    return True


def _pci(device: Facts) -> str:
    return str(device.get("pci") or "").lower()[-7:]


def _uuid(device: Facts) -> str:
    return str(device.get("uuid") or "").lower().removeprefix("gpu-").replace("-", "")


_FILES = (
    "vulkan.no-answer",
    "vulkan.loader",
    "vulkan.loader-old",
    "vulkan.variables",
    "vulkan.filters",
    "vulkan.no-icd",
    "vulkan.icd-",
    "vulkan.nvidia-icd-",
    "vulkan.no-nvidia-icd",
)
_ALL = ("driver.", "gpu.", "cuda.", "image.not-bound", "image.icd-not-bound", "libraries.")

CHECKS: tuple[Check, ...] = (
    Check(
        "vulkan.instance",
        "a Vulkan instance can be made",
        _instance,
        (*_FILES, *_ALL, "vulkan.hidden-gpus"),
    ),
    Check(
        "vulkan.no-device",
        "Vulkan lists a device",
        _no_device,
        (*_FILES, *_ALL, "vulkan.hidden-gpus"),
    ),
    Check("vulkan.no-cpu-device", "the CPU draws where it was asked to", _software, _FILES),
    Check(
        "vulkan.cpu-only",
        "a GPU draws where there is one",
        _cpu_only,
        (*_FILES, *_ALL, "vulkan.hidden-gpus"),
    ),
    Check(
        "vulkan.device-lacks",
        "the device has what SAPIEN demands",
        _lacks,
        (*_FILES, *_ALL, "vulkan.cpu-only"),
    ),
    Check("vulkan.no-ray-tracing", "SAPIEN 3 may use the CPU's ray tracing", _ray_tracing),
    Check("vulkan.device-count", "every GPU that computes also draws", _count, ("driver.", "gpu.")),
    Check("vulkan.display", "no screen is in the way", _display),
)
