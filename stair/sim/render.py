"""Which Vulkan driver draws, chosen by name before SAPIEN is loaded; standard library only.

Takes a choice and what the host has, hands on environment variables, or says what is missing (CannotDraw).
The surprise: both lists of driver files that Vulkan loaders know are set, to one single file. With two
files SAPIEN takes whichever works, which on a broken GPU node is silently the CPU.

The image's own driver file comes first: on a node with a GPU, stair/cluster/graphics.py has set the same
names to the same file before the image started, and has bound the host's file over it where that one is to
be used. What is chosen here wins, since it is chosen later, and for one process.
"""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stair.cluster.graphics import IMAGE_FOLDER, VULKAN_FOLDERS
from stair.errors import COULD_NOT_CHECK, StairError, unknown

CHOICES = ("nvidia", "cpu")
EGL_FOLDERS = (
    "/etc/glvnd/egl_vendor.d",
    "/usr/local/share/glvnd/egl_vendor.d",
    "/usr/share/glvnd/egl_vendor.d",
)
_MARKS = {"nvidia": ("nvidia",), "cpu": ("libvulkan_lvp", "libEGL_mesa")}
"""How the library of a driver file is called."""
_CPU_DEVICES = ("llvmpipe", "lavapipe", "swiftshader")
_NOT_GIVEN = ("", "-1", "NoDevFiles")
"""What CUDA_VISIBLE_DEVICES says in a job that was given no GPU."""


class CannotDraw(StairError):
    """Nothing can be drawn here, though it may be elsewhere: another node, or the other driver."""

    exit_code = COULD_NOT_CHECK


@dataclass(frozen=True)
class DriverFile:
    """One ICD or EGL vendor JSON."""

    path: str
    library: str
    """As written in it: a name for the dynamic linker, or a path."""

    def suits(self, choice: str) -> bool:
        """Whether it is of the kind asked for."""
        name = os.path.basename(self.library)
        return any(mark in name for mark in _MARKS[choice])


@dataclass(frozen=True)
class Host:
    """What a machine has for drawing."""

    vulkan: tuple[DriverFile, ...]
    """Best first: our image's, those that VK_DRIVER_FILES or VK_ICD_FILENAMES name, the system's."""
    egl: tuple[DriverFile, ...]
    gpus: tuple[str, ...]
    """NVIDIA device nodes."""
    visible: str | None = None
    """CUDA_VISIBLE_DEVICES."""


def look_at_host(environment: Mapping[str, str], image_folder: str = IMAGE_FOLDER) -> Host:
    """Reads the driver files of this machine and counts its device nodes."""
    named = [environment.get(name, "") for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")]
    egl_named = environment.get("__EGL_VENDOR_LIBRARY_FILENAMES", "")
    return Host(
        vulkan=_driver_files([image_folder, *_split(named), *VULKAN_FOLDERS], vulkan=True),
        egl=_driver_files([image_folder, *_split([egl_named]), *EGL_FOLDERS], vulkan=False),
        gpus=tuple(sorted(glob.glob("/dev/nvidia[0-9]*"))),
        visible=environment.get("CUDA_VISIBLE_DEVICES"),
    )


def drawing_variables(choice: str, host: Host, *, ray_tracing: bool = False) -> dict[str, str | None]:
    """The variables that make `choice` draw; None takes one away. The empty choice is `nvidia`.

    Raises UsageError for another choice, CannotDraw when the host lacks what it needs.
    """
    choice = choice or "nvidia"
    if choice not in CHOICES:
        raise unknown("driver", choice, CHOICES)
    if choice == "nvidia":
        _need_gpu(host)
    elif ray_tracing:
        # spec: 191 s to build, then no picture: the denoiser needs NVIDIA's driver
        raise CannotDraw(
            "this task is ray-traced, which a CPU cannot do in useful time", hint="--render nvidia"
        )
    vulkan = next((file for file in host.vulkan if file.suits(choice)), None)
    if vulkan is None:
        found = ", ".join(file.path for file in host.vulkan) or "none at all"
        raise CannotDraw(
            f"no Vulkan driver file for '{choice}'; found {found}",
            hint="run inside the evaluation image, with --nv for NVIDIA"
            if choice == "nvidia"
            else "run inside the evaluation image, or install mesa-vulkan-drivers >= 25",
        )
    egl = next((file for file in host.egl if file.suits(choice)), None)
    return {
        "VK_DRIVER_FILES": vulkan.path,
        "VK_ICD_FILENAMES": vulkan.path,  # loaders before 1.3.207 know only this name
        "VK_ADD_DRIVER_FILES": None,
        "VK_LOADER_DRIVERS_SELECT": None,
        "VK_LOADER_DRIVERS_DISABLE": None,
        "__EGL_VENDOR_LIBRARY_FILENAMES": egl.path if egl else None,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # Vulkan's order, so that both count GPUs alike
        "DISPLAY": None,
        "WAYLAND_DISPLAY": None,
        "MESA_SHADER_CACHE_DISABLE": "true",  # saves no time, and writes into the home folder
        # On the CPU SAPIEN 3 accepts a device only for its ray tracing: there it must not be disabled.
        "SAPIEN_DISABLE_RAY_TRACING": "1" if choice == "nvidia" and not ray_tracing else None,
    }


def choose_driver(choice: str, *, ray_tracing: bool = False) -> str:
    """Sets the variables of this process; returns the choice, `nvidia` for the empty one.

    Raises as `drawing_variables`, and StairError when SAPIEN is loaded already and another driver may draw.
    """
    variables = drawing_variables(choice, look_at_host(os.environ), ray_tracing=ray_tracing)
    late = "sapien" in sys.modules
    if late and os.environ.get("VK_DRIVER_FILES") != variables["VK_DRIVER_FILES"]:
        raise StairError(
            f"SAPIEN was loaded before '{choice or 'nvidia'}' was chosen to draw",
            hint="one driver a process: start another one",
        )
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return choice or "nvidia"


def check_devices(choice: str, devices: Sequence[str]) -> None:
    """Holds the names of the devices that SAPIEN found against the choice. Raises CannotDraw."""
    if not devices:
        raise CannotDraw(
            f"no device draws for '{choice}'", hint="stair-doctor says what is wrong with Vulkan"
        )
    for device in devices:
        is_cpu = any(name in device.lower() for name in _CPU_DEVICES)
        if is_cpu != (choice == "cpu"):
            raise CannotDraw(
                f"'{device}' would draw, though '{choice}' was asked for",
                hint="--render cpu if that is what you want" if is_cpu else "--render nvidia",
            )


def devices_of_sapien3() -> tuple[str, ...]:
    """Names of the Vulkan devices that SAPIEN 3 can draw with, as its summary lists them."""
    import sapien.render  # pyright: ignore[reportMissingImports]

    lines = str(sapien.render.get_device_summary()).splitlines()
    return tuple(line.partition(":")[2].strip() for line in lines if line.startswith("GPU:"))


def _need_gpu(host: Host) -> None:
    if not host.gpus:
        raise CannotDraw(
            "there is no NVIDIA GPU here (no /dev/nvidia0)",
            hint="--render cpu draws on the CPU; or ask Slurm for a GPU, and Apptainer with --nv",
        )
    if host.visible in _NOT_GIVEN:
        raise CannotDraw(
            f"this job was given no GPU (CUDA_VISIBLE_DEVICES is '{host.visible}')",
            hint="--render cpu draws on the CPU; or ask Slurm for a GPU",
        )


def _split(lists: Sequence[str]) -> list[str]:
    return [word for text in lists for word in text.split(os.pathsep) if word]


def _driver_files(places: Sequence[str], *, vulkan: bool) -> tuple[DriverFile, ...]:
    """The readable driver files among files and folders, each once: Vulkan's name their api_version, those of
    EGL, which lie in the same folder of our image, do not."""
    paths = [
        path
        for place in places
        for path in (sorted(glob.glob(os.path.join(place, "*.json"))) if os.path.isdir(place) else [place])
    ]
    files = []
    for path in dict.fromkeys(paths):
        try:
            with open(path, encoding="utf-8") as file:
                driver = json.load(file)["ICD"]
            if ("api_version" in driver) == vulkan:
                files.append(DriverFile(path, str(driver["library_path"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # the loader would skip it too; stair-doctor names it
    return tuple(files)
