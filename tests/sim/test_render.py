"""The driver that draws is the one asked for, or there is an error that says what to try."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stair.errors import COULD_NOT_CHECK, UsageError
from stair.sim.render import CannotDraw, DriverFile, Host, check_devices, drawing_variables, look_at_host

LAVAPIPE = DriverFile("/icd/lvp_icd.json", "/usr/lib/libvulkan_lvp.so")
NVIDIA = DriverFile("/icd/nvidia_icd.json", "libGLX_nvidia.so.0")
RADEON = DriverFile("/icd/radeon_icd.json", "/usr/lib/libvulkan_radeon.so")
EGL_NVIDIA = DriverFile("/icd/10_nvidia.json", "libEGL_nvidia.so.0")
EGL_MESA = DriverFile("/icd/50_mesa.json", "libEGL_mesa.so.0")
BOTH = Host((RADEON, LAVAPIPE, NVIDIA), (EGL_MESA, EGL_NVIDIA), ("/dev/nvidia0",))


@pytest.mark.parametrize(
    ("choice", "vulkan", "egl"), [("nvidia", NVIDIA, EGL_NVIDIA), ("cpu", LAVAPIPE, EGL_MESA)]
)
def test_both_lists_name_the_one_driver_asked_for(choice: str, vulkan: DriverFile, egl: DriverFile):
    set_to = drawing_variables(choice, BOTH)
    assert set_to["VK_DRIVER_FILES"] == set_to["VK_ICD_FILENAMES"] == vulkan.path
    assert set_to["__EGL_VENDOR_LIBRARY_FILENAMES"] == egl.path
    assert set_to["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert set_to["DISPLAY"] is None
    assert set_to["VK_ADD_DRIVER_FILES"] is None


def test_no_choice_is_nvidia_and_never_the_cpu():
    assert drawing_variables("", BOTH) == drawing_variables("nvidia", BOTH)
    with pytest.raises(CannotDraw, match="no NVIDIA GPU") as caught:
        drawing_variables("", Host((LAVAPIPE, NVIDIA), (), ()))
    assert "--render cpu" in caught.value.hint
    assert caught.value.exit_code == COULD_NOT_CHECK


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_a_job_without_its_gpu_is_refused_on_a_gpu_node(visible: str):
    with pytest.raises(CannotDraw, match="given no GPU"):
        drawing_variables("nvidia", Host((NVIDIA,), (), ("/dev/nvidia0",), visible))


def test_a_missing_driver_file_is_told_with_those_that_are_there():
    with pytest.raises(CannotDraw, match=r"for 'cpu'; found /icd/nvidia_icd.json") as caught:
        drawing_variables("cpu", Host((NVIDIA,), (), ()))
    assert "mesa-vulkan-drivers" in caught.value.hint
    with pytest.raises(CannotDraw, match="for 'nvidia'; found none at all"):
        drawing_variables("nvidia", Host((), (), ("/dev/nvidia0",)))


def test_unknown_drivers_are_refused():
    with pytest.raises(UsageError, match="did you mean 'nvidia'"):
        drawing_variables("nvida", BOTH)


def test_ray_tracing_is_disabled_on_nvidia_only_and_only_where_no_task_needs_it():
    assert drawing_variables("nvidia", BOTH)["SAPIEN_DISABLE_RAY_TRACING"] == "1"
    assert drawing_variables("nvidia", BOTH, ray_tracing=True)["SAPIEN_DISABLE_RAY_TRACING"] is None
    assert drawing_variables("cpu", BOTH)["SAPIEN_DISABLE_RAY_TRACING"] is None
    with pytest.raises(CannotDraw, match="ray-traced"):
        drawing_variables("cpu", BOTH, ray_tracing=True)


def test_the_image_comes_before_named_files_and_those_before_the_systems(tmp_path: Path):
    image, named = tmp_path / "image", tmp_path / "named"
    for folder, library in ((image, "libvulkan_lvp.so"), (named, "/own/libvulkan_lvp.so")):
        folder.mkdir()
        (folder / "lvp.json").write_text(
            json.dumps({"ICD": {"library_path": library, "api_version": "1.3.0"}})
        )
    (image / "10_nvidia.json").write_text('{"ICD": {"library_path": "libEGL_nvidia.so.0"}}')
    (named / "broken.json").write_text("{")
    environment = {"VK_DRIVER_FILES": f"{named}:{tmp_path}/nowhere.json", "CUDA_VISIBLE_DEVICES": "1"}
    host = look_at_host(environment, image_folder=str(image))
    assert [file.path for file in host.vulkan[:2]] == [f"{image}/lvp.json", f"{named}/lvp.json"]
    assert host.egl[0].path == f"{image}/10_nvidia.json"
    assert host.visible == "1"
    only_named = look_at_host(environment, image_folder=str(tmp_path / "none"))
    assert only_named.vulkan[0].library == "/own/libvulkan_lvp.so"


@pytest.mark.parametrize(
    ("choice", "devices"),
    [
        ("nvidia", ["llvmpipe (LLVM 15.0.6, 256 bits)"]),
        ("nvidia", ["NVIDIA H100", "llvmpipe (LLVM 15.0.6, 256 bits)"]),
        ("cpu", ["NVIDIA H100"]),
        ("nvidia", []),
    ],
)
def test_another_device_than_the_one_asked_for_is_an_error(choice: str, devices: list[str]):
    with pytest.raises(CannotDraw):
        check_devices(choice, devices)


def test_the_device_asked_for_passes():
    check_devices("cpu", ["llvmpipe (LLVM 19.1.7, 256 bits)"])
    check_devices("nvidia", ["NVIDIA H100 80GB HBM3"])


def test_the_choice_is_made_before_sapien_is_loaded(tmp_path: Path):
    (tmp_path / "sapien.py").write_text("")
    (tmp_path / "lvp.json").write_text('{"ICD": {"library_path": "libvulkan_lvp.so", "api_version": "1.3"}}')
    code = (
        "import os, sys; from stair.sim.render import choose_driver\n"
        "os.environ['DISPLAY'] = ':0'\n"
        "print(choose_driver('cpu'), os.environ['VK_ICD_FILENAMES'], 'DISPLAY' in os.environ)\n"
        "import sapien; choose_driver('cpu'); os.environ['VK_DRIVER_FILES'] = 'other'\n"
        "from stair.errors import StairError\n"
        "try: choose_driver('cpu')\n"
        "except StairError as error: print(error.what)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "VK_DRIVER_FILES": str(tmp_path / "lvp.json")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("cpu ")
    assert first.endswith("json False")
    assert "loaded before 'cpu' was chosen" in last
