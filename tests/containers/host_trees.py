"""Hosts with NVIDIA's driver as folders: files as packages and installer lay them out, filled with stand-ins.

Each of `HOSTS` makes one in a folder. Debian's is that of its packages 535.261.03 and of what their
trigger links, Red Hat's that of the spec file of nvidia-driver, which writes a path of the host into the
driver file; the installer's follows NVIDIA's README, "Installed Components". Needs gcc.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from stair.cluster.graphics import OPTIX

ANY_NAME = "libANY-NAME.so".ljust(64, "_")
SOURCE = Path(__file__).with_name("standin_nvidia.c")
TRIPLET = "usr/lib/x86_64-linux-gnu"
COMPANIONS = ("glcore", "eglcore", "glsi", "tls", "glvkspirv", "rtcore")
"""libnvidia-NAME.so.VERSION, found by that name only."""
LINKED = {
    "libcuda": 1,
    "libnvidia-ml": 1,
    "libnvidia-ptxjitcompiler": 1,
    "libnvidia-allocator": 1,
    "libnvoptix": 1,
}
"""Found by libNAME.so.NUMBER, a link."""


def compiled(*words: str, source: str) -> bytes:
    """The shared library that gcc makes of C."""
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/made.so"
        made = ["gcc", "-shared", "-fPIC", *words, "-x", "c", "-", "-o", library]
        subprocess.run(made, input=source, text=True, check=True)
        return Path(library).read_bytes()


@cache
def empty_library() -> bytes:
    """A library with a name to be replaced."""
    return compiled("-nostdlib", f"-Wl,-soname,{ANY_NAME}", source="int standin = 1;")


@cache
def driver_library(version: str, soname: str, companions: tuple[str, ...]) -> bytes:
    """The stand-in for NVIDIA's driver; `companions` are the libraries that it opens."""
    listed = ",".join(f'"{name}"' for name in companions)
    told = {"VERSION": f'"{version}"', "LIBRARY": f'"{soname}"', "OPTIX": f'"{OPTIX}"', "COMPANIONS": listed}
    words = [f"-D{name}={value}" for name, value in told.items()]
    return compiled(*words, f"-Wl,-soname,{soname}", source=SOURCE.read_text())


class HostTree:
    """A folder that is filled like the root of a host."""

    def __init__(self, root: Path, version: str) -> None:
        self.root = root
        self.version = version
        (root / "etc").mkdir(parents=True)
        self.write(
            "proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  x\n"
        )

    def write(self, path: str, text: str) -> None:
        """A file, with its folders."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def link(self, path: str, target: str) -> None:
        """A symbolic link as a package would make it: `target` is relative, or absolute on the host."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def library(self, folder: str, file: str, soname: str = "") -> None:
        """An empty library `file`, and a link with the name that it calls itself where that differs."""
        path = self.root / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            empty_library().replace(ANY_NAME.encode(), (soname or file).encode().ljust(64, b"\0"))
        )
        if soname:
            self.link(f"{folder}/{soname}", file)

    def driver(self, folder: str, kind: str) -> None:
        """The stand-in of lib`kind`_nvidia.so.0, which looks for its companions."""
        names = [f"libnvidia-{name}.so.{self.version}" for name in self.companions()]
        names += [f"{name}.so.{number}" for name, number in LINKED.items()]
        file, soname = f"lib{kind}_nvidia.so.{self.version}", f"lib{kind}_nvidia.so.0"
        path = self.root / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(driver_library(self.version, soname, tuple(names)))
        self.link(f"{folder}/{soname}", file)

    def companions(self) -> tuple[str, ...]:
        """Without those that came later than this version."""
        return (*COMPANIONS, "gpucomp") if int(self.version.split(".")[0]) >= 550 else COMPANIONS

    def libraries(self, folder: str, kind: str = "GLX") -> None:
        """All of them in one folder; `kind` is the one that draws."""
        self.driver(folder, kind)
        if kind != "EGL":
            self.library(folder, f"libEGL_nvidia.so.{self.version}", "libEGL_nvidia.so.0")
        for name in self.companions():
            self.library(folder, f"libnvidia-{name}.so.{self.version}")
        for name, number in LINKED.items():
            self.library(folder, f"{name}.so.{self.version}", f"{name}.so.{number}")

    def driver_files(
        self, vulkan: str, library: str = "libGLX_nvidia.so.0", layers: str = "usr/share/vulkan"
    ) -> None:
        """The ICD file at `vulkan`, those of EGL and of the layer, and what OptiX reads."""
        self.icd(vulkan, library)
        egl = {"file_format_version": "1.0.0", "ICD": {"library_path": "libEGL_nvidia.so.0"}}
        self.write("usr/share/glvnd/egl_vendor.d/10_nvidia.json", json.dumps(egl))
        layer = {
            **{"name": "VK_LAYER_NV_optimus", "type": "INSTANCE", "library_path": library},
            **{
                "api_version": "1.3.242",
                "implementation_version": "1",
                "description": "NVIDIA Optimus layer",
            },
            "enable_environment": {"__NV_PRIME_RENDER_OFFLOAD": "1"},
            "disable_environment": {"DISABLE_LAYER_NV_OPTIMUS_1": ""},
        }
        text = json.dumps({"file_format_version": "1.0.0", "layer": layer})
        self.write(f"{layers}/implicit_layer.d/nvidia_layers.json", text)
        if not (self.root / OPTIX[1:]).is_symlink():
            self.write(OPTIX[1:], "stand-in")

    def icd(self, path: str, library: str) -> None:
        """One Vulkan driver file."""
        icd = {"library_path": library, "api_version": "1.3.242"}
        self.write(path, json.dumps({"file_format_version": "1.0.0", "ICD": icd}))


def debian(root: Path) -> HostTree:
    """Debian 12: /etc/alternatives between the names and nvidia/current, which no ld.so.conf names."""
    host = HostTree(root, "535.261.03")
    current = f"{TRIPLET}/nvidia/current"
    host.driver(current, "GLX")
    host.library(current, f"libEGL_nvidia.so.{host.version}", "libEGL_nvidia.so.0")
    host.library(current, f"libnvidia-vulkan-producer.so.{host.version}")
    for name, number in LINKED.items():
        host.library(current, f"{name}.so.{host.version}", f"{name}.so.{number}")
    for name in ("libGLX_nvidia.so.0", "libEGL_nvidia.so.0", *(f"{name}.so.1" for name in LINKED)):
        host.link(f"{TRIPLET}/{name}", f"/etc/alternatives/nvidia--{name}-x86_64-linux-gnu")
        host.link(f"etc/alternatives/nvidia--{name}-x86_64-linux-gnu", f"/{current}/{name}")
    for name in host.companions():
        host.library(TRIPLET, f"libnvidia-{name}.so.{host.version}")
    host.library(TRIPLET, "libnvidia-egl-gbm.so.1.1.0", "libnvidia-egl-gbm.so.1")
    host.write(f"{current}/nvoptix.bin", "stand-in")
    host.link(OPTIX[1:], "/etc/alternatives/nvidia--nvoptix.bin")
    host.link("etc/alternatives/nvidia--nvoptix.bin", f"/{current}/nvoptix.bin")
    host.driver_files("usr/share/vulkan/icd.d/nvidia_icd.json")
    return host


def ubuntu(root: Path) -> HostTree:
    """Ubuntu: all libraries in the folder of the processor."""
    host = HostTree(root, "570.172.08")
    host.libraries(TRIPLET)
    host.driver_files("usr/share/vulkan/icd.d/nvidia_icd.json")
    return host


def rhel(root: Path) -> HostTree:
    """Red Hat: /usr/lib64, the processor in the driver file's name, a path of the host inside, 32 bits."""
    host = HostTree(root, "580.105.08")
    host.libraries("usr/lib64")
    host.driver_files("usr/share/vulkan/icd.d/nvidia_icd.x86_64.json", "/usr/lib64/libGLX_nvidia.so.0")
    host.icd("usr/share/vulkan/icd.d/nvidia_icd.i686.json", "/usr/lib/libGLX_nvidia.so.0")
    host.library("usr/lib64", f"libnvidia-present.so.{host.version}")
    return host


def runfile(root: Path) -> HostTree:
    """NVIDIA's installer: Vulkan's files in /etc, and what it left of the version before."""
    host = HostTree(root, "575.57.08")
    host.libraries(TRIPLET)
    host.driver_files("etc/vulkan/icd.d/nvidia_icd.json", layers="etc/vulkan")
    host.library(TRIPLET, "libnvidia-allocator.so.550.54.14")
    return host


def two(root: Path) -> HostTree:
    """Two vendors at once: Mesa's driver files, of the host's own GPU and of the CPU, beside NVIDIA's."""
    host = ubuntu(root)
    for name in ("radeon", "intel", "lvp"):
        host.icd(f"usr/share/vulkan/icd.d/{name}_icd.x86_64.json", f"/{TRIPLET}/libvulkan_{name}.so")
    host.icd("etc/vulkan/icd.d/amd_icd64.json", "/usr/lib/amdvlk64.so")
    return host


def headless(root: Path) -> HostTree:
    """Without X: libEGL_nvidia alone, which the driver file names."""
    host = HostTree(root, "570.172.08")
    host.libraries(TRIPLET, kind="EGL")
    host.driver_files("etc/vulkan/icd.d/nvidia_icd.json", "libEGL_nvidia.so.0")
    return host


HOSTS: dict[str, Callable[[Path], HostTree]] = {
    function.__name__: function for function in (debian, ubuntu, rhel, runfile, two, headless)
}
