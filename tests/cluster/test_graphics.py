"""What of a host's driver is bound, what is set; tests/containers/test_layouts.py asks the real loader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stair.cluster.container import ContainerConfig, in_container
from stair.cluster.graphics import (
    EGL_FILE,
    OPTIX,
    VULKAN_FILE,
    Graphics,
    HostDrivers,
    apptainer_version,
    graphics,
    look_at_drivers,
    on_this_node,
)
from tests.containers import host_trees
from tests.containers.host_trees import ANY_NAME, HOSTS, TRIPLET, HostTree

PINNED = {"VK_DRIVER_FILES": VULKAN_FILE, "VK_ICD_FILENAMES": VULKAN_FILE}
ALLOCATOR = ("libnvidia-allocator.so.1", "libnvidia-allocator.so.{}")
NEVER = {
    "debian": {
        *ALLOCATOR,
        "libnvidia-egl-gbm.so.1",
        "libnvidia-egl-gbm.so.1.1.0",
        "libnvidia-vulkan-producer.so.{}",
    },
    "rhel": {*ALLOCATOR, "libnvidia-present.so.{}"},
    "headless": {*ALLOCATOR, "nvidia_icd.json"},
}
SINCE_140 = {"libnvoptix.so.1", "libnvoptix.so.{}", "nvoptix.bin"}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, HostTree]]:
    """The layouts, with libraries that only begin like some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_trees, "compiled", lambda *words, source: b"\x7fELF\x02" + ANY_NAME.encode())
        folder = tmp_path_factory.mktemp("hosts")
        yield {name: make(folder / name) for name, make in HOSTS.items()}
    host_trees.empty_library.cache_clear()
    host_trees.driver_library.cache_clear()


@pytest.fixture(scope="module")
def looked(hosts: dict[str, HostTree]) -> dict[str, HostDrivers]:
    """What is found on them."""
    return {name: look_at_drivers(host.root) for name, host in hosts.items()}


def with_cache(host: HostTree) -> HostDrivers:
    """Its drivers, as if ldconfig had run there: it knows a linked library by its link."""
    drivers = look_at_drivers(host.root)
    by_file = {path: name for name, path in sorted(drivers.libraries.items(), reverse=True)}
    known = {name for name in by_file.values() if "vulkan-producer" not in name}
    return replace(drivers, cached=frozenset(known))


def names(found: Graphics) -> set[str]:
    return {Path(bind.inside).name for bind in found.binds}


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("version", [(1, 4, 5), (1, 3, 6), (1, 2, 3)])
def test_what_an_apptainer_leaves_out_is_bound_and_no_more(
    name: str, version: tuple[int, ...], hosts: dict[str, HostTree]
):
    host = hosts[name]
    found = graphics(with_cache(host), version)
    expected = NEVER.get(name, set(ALLOCATOR)) | (SINCE_140 if version < (1, 4, 0) else set())
    if version < (1, 2, 4) and "gpucomp" in host.companions():
        expected |= {"libnvidia-gpucomp.so.{}"}
    assert names(found) == {each.format(host.version) for each in expected}
    assert found.variables == {
        "LD_LIBRARY_PATH": "/opt/stair/driver",
        **PINNED,
        "__EGL_VENDOR_LIBRARY_FILENAMES": EGL_FILE,
    }
    assert all(bind.read_only for bind in found.binds)


@given(data=st.data(), version=st.sampled_from([(), (1, 1, 0), (1, 2, 4), (1, 3, 6), (1, 4, 5), (1, 5, 0)]))
@settings(max_examples=30)
def test_every_bind_is_a_file_of_the_tree_and_every_library_gets_inside(
    data: st.DataObject, version: tuple[int, ...], hosts: dict[str, HostTree], looked: dict[str, HostDrivers]
):
    name = data.draw(st.sampled_from(list(HOSTS)))
    host, drivers = hosts[name], looked[name]
    known = data.draw(st.frozensets(st.sampled_from(sorted(drivers.libraries))))
    drivers = replace(drivers, cached=known)
    found = graphics(drivers, version)
    assert found == graphics(drivers, version)
    for bind in found.binds:
        assert os.path.isfile(bind.host)
        assert not os.path.islink(bind.host)
        assert os.path.realpath(bind.host).startswith(f"{host.root}/")
    places = [bind.inside for bind in found.binds]
    assert len(places) == len(set(places))
    inside = {bind.host for bind in found.binds} | {drivers.libraries[name] for name in known}
    assert set(drivers.libraries.values()) <= inside


def test_an_apptainer_that_does_not_tell_its_version_may_forget_everything(hosts: dict[str, HostTree]):
    drivers = with_cache(hosts["ubuntu"])
    assert names(graphics(drivers, ())) == {*drivers.libraries, "nvoptix.bin"}


def test_only_a_driver_file_that_names_another_library_takes_the_place_of_the_images(
    hosts: dict[str, HostTree],
):
    found = graphics(with_cache(hosts["headless"]), (1, 4, 5))
    assert [bind.host for bind in found.binds if bind.inside == VULKAN_FILE] == [
        str(hosts["headless"].root / "etc/vulkan/icd.d/nvidia_icd.json")
    ]
    assert any("libEGL_nvidia.so.0" in note for note in found.notes)
    # a path of the host leads nowhere inside
    assert look_at_drivers(hosts["rhel"].root).vulkan[0][1].startswith("/usr/lib64/")
    assert VULKAN_FILE not in {bind.inside for bind in graphics(with_cache(hosts["rhel"]), ()).binds}


def test_without_a_driver_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert look_at_drivers(tmp_path) == HostDrivers()
    assert graphics(HostDrivers(), (1, 4, 5)) == Graphics()
    monkeypatch.setattr("stair.cluster.graphics.look_at_drivers", HostDrivers)
    argv = in_container(("draw",), "e.sif", ContainerConfig(), gpus=True)
    assert on_this_node(argv, {"PATH": "/bin"}) == (argv, {"PATH": "/bin"}, ())


def test_on_a_node_with_a_driver_only_a_start_with_nv_changes(monkeypatch: pytest.MonkeyPatch):
    drivers = HostDrivers(libraries={"libGLX_nvidia.so.0": "/lib/x"})
    monkeypatch.setattr("stair.cluster.graphics.look_at_drivers", lambda: drivers)
    for argv in (("draw", "--nv"), in_container(("draw",), "e.sif", ContainerConfig())):
        assert on_this_node(argv, {}) == (argv, {}, ())
    _, variables, notes = on_this_node(in_container(("draw",), "e.sif", ContainerConfig(), gpus=True), {})
    assert variables["APPTAINERENV_VK_DRIVER_FILES"] == VULKAN_FILE
    assert "libGLX_nvidia.so.0" in notes[0]


def test_a_driver_that_only_computes_pins_nothing(tmp_path: Path):
    host = HostTree(tmp_path / "host", "570.172.08")
    library(host, TRIPLET, "libcuda.so.1")
    found = graphics(look_at_drivers(host.root), (1, 4, 5))
    assert names(found) == {"libcuda.so.1"}  # the ld cache does not know it
    assert found.variables == {"LD_LIBRARY_PATH": "/opt/stair/driver"}


def test_driver_files_come_in_the_order_of_the_loader_without_those_it_would_skip(tmp_path: Path):
    host = HostTree(tmp_path / "host", "570.172.08")
    host.icd("usr/share/vulkan/icd.d/nvidia_icd.json", "libGLX_nvidia.so.0")
    host.icd("usr/share/vulkan/icd.d/nvidia_icd.i686.json", "libGLX_nvidia.so.0")
    host.icd("usr/share/vulkan/icd.d/radeon_icd.x86_64.json", "/usr/lib64/libvulkan_radeon.so")
    host.icd("etc/vulkan/icd.d/nvidia_icd.x86_64.json", "libEGL_nvidia.so.0")
    host.write("etc/vulkan/icd.d/nvidia_broken.json", "{")
    host.write("etc/vulkan/icd.d/nvidia_old.json", '{"ICD": {"library_path": "libGLX_nvidia.so.0"}}')
    host.link("etc/vulkan/icd.d/nvidia_gone.json", "/nowhere")
    host.link("etc/vulkan/icd.d/nvidia_list.json", "/etc")
    assert [(Path(file).name, named) for file, named in look_at_drivers(host.root).vulkan] == [
        ("nvidia_icd.x86_64.json", "libEGL_nvidia.so.0"),
        ("nvidia_icd.json", "libGLX_nvidia.so.0"),
    ]


def test_links_stay_in_the_tree_and_end(tmp_path: Path):
    host = HostTree(tmp_path / "host", "570.172.08")
    library(host, "usr/lib64", "libnvidia-ml.so.1")
    library(host, "..", "libcuda.so.1")
    host.link("usr/lib64/libcuda.so.1", "../../../../../libcuda.so.1")  # above the root there is the root
    host.link("usr/lib64/libnvoptix.so.1", "/usr/lib64/libnvidia-ml.so.1")
    host.link("usr/lib64/libGLX_nvidia.so.0", "libGLX_nvidia.so.1")
    host.link("usr/lib64/libGLX_nvidia.so.1", "libGLX_nvidia.so.0")
    drivers = look_at_drivers(host.root)
    real = str(host.root / "usr/lib64/libnvidia-ml.so.1")
    assert drivers.libraries == {"libnvidia-ml.so.1": real, "libnvoptix.so.1": real}


def test_other_drivers_and_other_processors_are_left_out(tmp_path: Path):
    host = HostTree(tmp_path / "host", "570.172.08")
    for file in ("libnvidia-allocator.so.550.54.14", "libnvidia-allocator.so.570.172.08"):
        library(host, "usr/lib64", file)
    library(host, "usr/lib", "libnvidia-tls.so.570.172.08", begins=b"\x7fELF\x01")
    library(host, "usr/lib64", "libnvidia-container.so.1")
    drivers = look_at_drivers(host.root)
    assert drivers.version == "570.172.08"
    assert set(drivers.libraries) == {"libnvidia-allocator.so.570.172.08"}
    (host.root / "proc/driver/nvidia/version").unlink()  # not loaded: which one is meant is not known
    assert len(look_at_drivers(host.root).libraries) == 2


def test_a_folder_that_may_not_be_entered_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    host = HostTree(tmp_path / "host", "570.172.08")
    library(host, "usr/lib64", "libcuda.so.1")

    def refuse(path: Path) -> bool:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "is_symlink", refuse)  # root may enter all of them
    assert look_at_drivers(host.root).libraries == {}


def test_optix_is_found_behind_debians_links(hosts: dict[str, HostTree]):
    found = graphics(with_cache(hosts["debian"]), (1, 3, 6))
    (optix,) = [bind for bind in found.binds if bind.inside == OPTIX]
    assert optix.host == str(hosts["debian"].root / TRIPLET / "nvidia/current/nvoptix.bin")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("apptainer version 1.4.5", (1, 4, 5)),
        ("apptainer version 1.3.6-1.el9", (1, 3, 6)),
        ("singularity-ce", ()),
    ],
)
def test_the_version_is_that_of_the_apptainer_on_the_path(
    said: str, version: tuple[int, ...], tmp_path: Path
):
    program = tmp_path / "apptainer"
    program.write_text(f"#!/bin/sh\necho {said}\n")
    program.chmod(0o755)
    assert apptainer_version({"PATH": str(tmp_path)}) == version


def test_without_an_apptainer_the_version_is_not_known(tmp_path: Path):
    assert apptainer_version({"PATH": str(tmp_path)}) == ()


def library(host: HostTree, folder: str, file: str, begins: bytes = b"\x7fELF\x02") -> None:
    path = host.root / folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(begins)
