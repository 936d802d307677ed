"""The probe on real files, real libraries and real programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stair.doctor import probe
from stair.doctor.vulkan import check_icds

GOOD = {"file_format_version": "1.0.0", "ICD": {"library_path": "libc.so.6", "api_version": "1.3.0"}}


@pytest.fixture
def icds(tmp_path: Path, monkeypatch):
    """Writes driver files and makes them the only ones."""

    def write(**contents: str) -> dict:
        for name, text in contents.items():
            (tmp_path / f"{name}.json").write_text(text)
        monkeypatch.setenv("VK_DRIVER_FILES", str(tmp_path))
        return probe.vulkan(20.0)

    return write


def ids(vulkan: dict) -> list[str]:
    facts = {"vulkan": vulkan, "nvidia": {"devices": []}}
    return [finding.id for finding in check_icds(facts)]


def test_a_driver_file_whose_library_loads_is_fine(icds):
    assert ids(icds(a=json.dumps(GOOD))) == ["vulkan.icd"]


def test_every_kind_of_broken_driver_file_is_told_apart(icds):
    def icd(**changes) -> str:
        return json.dumps({**GOOD, "ICD": {**GOOD["ICD"], **changes}})

    vulkan = icds(
        a="",
        b="{not json",
        c=json.dumps({"ICD": {}}),
        d=json.dumps([1]),
        e=icd(library_path="libno_such_driver.so.0"),
        f=icd(library_path="./beside.so"),
        g=json.dumps({"ICD": {"library_path": "libc.so.6"}}),
        h=icd(api_version="1.0.5"),
    )
    assert ids(vulkan) == [
        "vulkan.icd-empty",
        "vulkan.icd-broken",
        "vulkan.icd-broken",
        "vulkan.icd-broken",
        "vulkan.icd-library",
        "vulkan.icd-library",
        "vulkan.icd-no-api-version",
        "vulkan.icd-api-version",
    ]
    beside = vulkan["icds"][5]
    assert Path(beside["library"]).parent == Path(beside["path"]).parent


def test_variables_name_files_in_their_order_and_absent_ones_are_told(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("VK_DRIVER_FILES", raising=False)
    monkeypatch.setenv("VK_ICD_FILENAMES", f"{tmp_path}/b.json:{tmp_path}/a.json")
    (tmp_path / "a.json").write_text(json.dumps(GOOD))
    vulkan = probe.vulkan(20.0)
    assert [Path(icd["path"]).name for icd in vulkan["icds"]] == ["b.json", "a.json"]
    assert ids(vulkan) == ["vulkan.icd-missing", "vulkan.icd"]


def test_a_program_that_hangs_is_ended_and_told():
    assert probe.run(["sleep", "30"], 0.2) == {"found": True, "timed_out": 0.2}


def test_a_program_that_is_absent_is_told():
    assert probe.run(["no-such-program"], 1.0) == {"found": False}


def test_a_library_that_crashes_the_process_is_told(monkeypatch):
    monkeypatch.setattr(probe, "LOAD", "import os; os.kill(os.getpid(), 11)")
    assert probe.loads("libanything.so", 20.0) == {"fine": False, "error": "exit -11"}


def test_room_is_told_for_folders_that_do_not_exist_yet(tmp_path: Path):
    fact = probe.disk("run folder", str(tmp_path / "not" / "yet"))
    assert fact["writable"]
    assert fact["free_gb"] > 0
    assert not (tmp_path / "not").exists()


def test_the_probe_runs_as_a_lone_file_without_stair(tmp_path: Path):
    lone = tmp_path / "probe.py"
    lone.write_text(Path(probe.__file__).read_text())
    words = [
        sys.executable,
        "-I",
        "-S",
        str(lone),
        str(tmp_path),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    facts = json.loads(done.stdout)
    assert facts["python"]["version"] == list(sys.version_info[:3])
    assert facts["disk"][0]["path"] == str(tmp_path)
