"""Hosts of five layouts and one without X: the real Apptainer with `--nv`, the real image, its Vulkan loader.

A host's tree lies over this machine's in a mount namespace, with a real ld cache of it: `--nv` finds what it
would find there, a stand-in for the driver, whose device is named after the library that was loaded and what
it missed of its companions. Needs root, gcc and overlayfs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from containers.bake import CHECKOUT
from stair.cluster.graphics import EGL_FILE, LIBRARY_FOLDER, VULKAN_FILE
from tests.containers.eval_image import EvalImage
from tests.containers.host_trees import HOSTS, HostTree

BECOME = """
set -e
for part in usr etc; do mount -t overlay host -o "lowerdir=$TREE/$part:/$part" "/$part"; done
ldconfig -X -C "$TREE/ld.so.cache" /usr/lib64
mount --bind "$TREE/ld.so.cache" /etc/ld.so.cache
mount --bind "$TREE/proc/driver" /proc/driver
[ -z "$LIST" ] || mount --bind "$LIST" "$LIST_OF_APPTAINER"
exec "$@"
"""
NAMED = re.compile(r'"destination=([^"]*/([^"/]+))"')


@dataclass(frozen=True)
class Seen:
    """What happened on a host."""

    bound: set[str]
    """Names of the files that were bound besides `--nv`."""
    told: str
    inside: dict[str, Any]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HostTree]:
    """All of them; skips with the reason where this machine cannot become one."""
    if os.geteuid() or not all(shutil.which(name) for name in ("gcc", "unshare", "ldconfig")):
        pytest.skip("becoming another host needs root, gcc, unshare and ldconfig")
    folder = tmp_path_factory.mktemp("hosts")
    made = {name: make(folder / name) for name, make in HOSTS.items()}
    tried = subprocess.run(become(made["ubuntu"].root, "true"), capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this machine cannot become another host: {tried.stderr.strip()}")
    return made


def become(tree: Path, *argv: str, lists: tuple[str, str] = ("", "")) -> list[str]:
    """The argv that runs `argv` on a host; `lists` replaces Apptainer's list of libraries by another one."""
    told = [f"TREE={tree}", f"LIST={lists[0]}", f"LIST_OF_APPTAINER={lists[1]}"]
    return ["unshare", "--mount", "env", *told, "sh", "-c", BECOME, "sh", *argv]


def start_on(host: HostTree, image: EvalImage, tmp_path: Path, version: str = "", **variables: str) -> Seen:
    """Starts the image there as a worker does; of a `version`, Apptainer says and lists what that one did."""
    path, lists = str(image.apptainer.parent), ("", "")
    if version:
        path, lists = older(image, version, tmp_path)
    argv = become(host.root, sys.executable, "-m", "tests.containers.on_host", str(image.path), lists=lists)
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **variables}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=CHECKOUT, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    started, inside = (json.loads(line) for line in done.stdout.splitlines())
    bound = {name for word in started["argv"] for place, name in NAMED.findall(word) if "src" not in place}
    return Seen(bound, " ".join(started["notes"]), inside)


def older(image: EvalImage, version: str, tmp_path: Path) -> tuple[str, tuple[str, str]]:
    """A folder for the PATH with an Apptainer that says it is older; its list of then, and the one of now."""
    program = tmp_path / "apptainer"
    program.write_text(
        "#!/bin/sh\n"
        f'[ "$1" != --version ] || exec echo apptainer version {version}\n'
        f'exec {image.apptainer} "$@"\n'
    )
    program.chmod(0o755)
    said = subprocess.run([image.apptainer, "buildcfg", "APPTAINER_CONFDIR"], capture_output=True, text=True)
    now = Path(said.stdout.strip()) / "nvliblist.conf"
    lines = [line for line in now.read_text().splitlines() if not line.startswith("/usr/share")]
    text = "\n".join(lines).replace("libnvoptix.so", "libnvoptix.so.1")
    if version < "1.2.4":
        text = text.replace("libnvidia-gpucomp.so", "").replace("libnvidia-nvvm.so", "")
    then = tmp_path / "nvliblist.conf"
    then.write_text(text)
    return str(tmp_path), (str(then), str(now))


@pytest.mark.parametrize("name", HOSTS)
def test_on_every_layout_the_loader_finds_nvidias_driver_alone_and_the_driver_its_companions(
    name: str, hosts: dict[str, HostTree], eval_image: EvalImage, tmp_path: Path
):
    host = hosts[name]
    seen = start_on(host, eval_image, tmp_path)
    library = "libEGL_nvidia.so.0" if name == "headless" else "libGLX_nvidia.so.0"
    assert seen.inside["devices"] == [f"stand-in NVIDIA {host.version} as {library}"]
    assert "ERROR" not in seen.inside["said"]
    assert seen.inside["variables"] == {
        "VK_DRIVER_FILES": VULKAN_FILE,
        "VK_ICD_FILENAMES": VULKAN_FILE,
        "__EGL_VENDOR_LIBRARY_FILENAMES": EGL_FILE,
        "LD_LIBRARY_PATH": f"{LIBRARY_FOLDER}:/.singularity.d/libs",
    }
    # what is chosen inside, later, is the same
    chosen = seen.inside["chosen"]
    assert {chosen["VK_DRIVER_FILES"], chosen["VK_ICD_FILENAMES"]} == {VULKAN_FILE}
    assert chosen["__EGL_VENDOR_LIBRARY_FILENAMES"] == EGL_FILE
    assert "libnvidia-allocator.so.1" in seen.bound
    assert "libnvidia-allocator.so.1" in seen.told
    assert not seen.bound & {"libGLX_nvidia.so.0", "libcuda.so.1", "nvoptix.bin"}  # --nv brought those
    # without the variables, NVIDIA's driver is one among Mesa's, or not there at all
    unpinned = seen.inside["unpinned"]
    assert any("llvmpipe" in device for device in unpinned)
    assert any("NVIDIA" in device for device in unpinned) == (name in ("debian", "ubuntu", "two"))


@pytest.mark.parametrize(("name", "version"), [("debian", "1.3.6"), ("rhel", "1.3.6"), ("runfile", "1.2.3")])
def test_under_an_older_apptainer_the_same_is_found_and_more_is_bound(
    name: str, version: str, hosts: dict[str, HostTree], eval_image: EvalImage, tmp_path: Path
):
    host = hosts[name]
    seen = start_on(host, eval_image, tmp_path, version)
    assert seen.inside["devices"] == [f"stand-in NVIDIA {host.version} as libGLX_nvidia.so.0"]
    assert {"nvoptix.bin", "libnvoptix.so.1"} <= seen.bound
    assert (f"libnvidia-gpucomp.so.{host.version}" in seen.bound) == (version == "1.2.3")
    assert not any("NVIDIA" in device for device in seen.inside["unpinned"])


def test_the_visible_gpus_change_nothing(hosts: dict[str, HostTree], eval_image: EvalImage, tmp_path: Path):
    seen = start_on(hosts["ubuntu"], eval_image, tmp_path, CUDA_VISIBLE_DEVICES="MIG-0/1/0")
    assert seen.inside["devices"] == ["stand-in NVIDIA 570.172.08 as libGLX_nvidia.so.0"]
