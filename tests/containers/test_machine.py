import platform
from pathlib import Path

import pytest

from containers import machine
from containers.machine import check_processor, check_space, find_apptainer, needs_fakeroot
from containers.order import Space
from stair.errors import StairError


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_named_apptainer_goes_before_the_path(tmp_path: Path):
    named, found = program(tmp_path / "named"), program(tmp_path / "bin" / "apptainer")
    path = str(found.parent)
    assert find_apptainer({"APPTAINER": str(named), "PATH": path}) == named
    assert find_apptainer({"PATH": path}) == found


def test_no_apptainer_is_an_error_with_a_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "_devcluster_apptainer", lambda: None)
    with pytest.raises(StairError, match="not on this machine") as caught:
        find_apptainer({"PATH": str(tmp_path)})
    assert "tools/devcluster install" in caught.value.hint
    with pytest.raises(StairError, match="cannot be run"):
        find_apptainer({"APPTAINER": str(tmp_path / "absent"), "PATH": ""})


def test_needs_on_one_file_system_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10e9}))
    there = {"work": tmp_path, "target": tmp_path / "not" / "yet", "bases": tmp_path / "bases"}
    check_space(Space(6, 3, 0.9), **there)
    check_space(Space(6, 3, 5), **{**there, "bases": None})
    with pytest.raises(StairError, match=r"10\.0 GB are free, this build needs up to 14\.0 GB"):
        check_space(Space(6, 3, 5), **there)


def test_fakeroot_is_for_users_and_for_a_root_that_may_not_raise_limits():
    everything = 0x1FFFFFFFFFF
    assert not needs_fakeroot(0, everything)
    assert needs_fakeroot(0, everything & ~(1 << 24))
    assert needs_fakeroot(1000, 0)


def test_another_processor_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(StairError, match="aarch64"):
        check_processor()
