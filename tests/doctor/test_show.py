"""Screens: health is quiet, the first cause stands on top, many nodes say the same thing once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from stair.doctor.finding import Diagnosis, Finding
from stair.doctor.show import as_lines
from stair.doctor.visit import Visit
from tests.doctor import sheets

ICD = Finding(
    "vulkan.icd-missing",
    "error",
    "the library libGLX_nvidia.so.0 that /usr/share/vulkan/icd.d/nvidia_icd.json names does not load on n3",
    "'Failed loading library associated with ICD JSON', ErrorIncompatibleDriver",
    "bring the driver's libraries into the image: start it with --nv",
    "apptainer exec --nv eval.sif python " + "x" * 130,
    "image on n3",
)
DEVICE = Finding("vulkan.no-device", "error", "no Vulkan device", place="image on n3")
SHM = Finding("shm.small", "warning", "/dev/shm has 64 MB", "a bus error", "ask for more")
NOTE = Finding("gpu.none", "note", "there is no GPU here")
DOWN = Finding("probe.sheet", "unknown", "no fact sheet came back", place="n9")


def node(number: int, change: Callable[[dict[str, Any]], None] = lambda sheet: None) -> Visit:
    sheet = copy.deepcopy(sheets.base("gpu-host"))
    change(sheet)
    return Visit(f"n{number}", "compute", sheet)


def screen(diagnoses: Sequence[Diagnosis], visits: Sequence[Visit], columns: int = 100) -> str:
    return "\n".join(text for text, _ in as_lines(diagnoses, visits, 60, columns))


def here(name: str = "cpu-host") -> Visit:
    return Visit("gpu01", "here", sheets.base(name))


def on(number: int, finding: Finding = ICD) -> Finding:
    words = {"seen": finding.seen.replace("n3", f"n{number}"), "place": f"image on n{number}"}
    return Finding(**{**vars(finding), **words})


def test_health_is_a_few_quiet_lines_that_say_what_is_there():
    lines = screen([], [here("gpu-host")]).splitlines()
    assert lines[0] == "✓ gpu01: nothing stands against a run (60 checks)"
    assert 4 <= len(lines) <= 7
    assert "2 × NVIDIA H100 80GB HBM3, driver 570.124.06, CUDA 12.8" in lines[2]


def test_a_note_does_not_disturb_health():
    lines = screen([Diagnosis(NOTE)], [here()]).splitlines()
    assert lines[0].startswith("✓")
    assert lines[-1] == "  · gpu.none: there is no GPU here"


def test_the_first_cause_comes_before_everything_else_with_its_cure():
    diagnoses = [Diagnosis(ICD, (DEVICE,)), Diagnosis(SHM), Diagnosis(NOTE)]
    shown = screen(diagnoses, [Visit("n3", "here", sheets.base("gpu-host"))])
    assert shown.startswith(
        "n3: 1 thing will fail, 1 thing may hurt later; 1 more follows from it\n\n✗ vulkan.icd-missing"
    )
    order = [
        "seen   the library",
        "means  'Failed",
        "cure   bring",
        f"$ {ICD.command}",
        "hence  ✗ vulkan.no-dev",
    ]
    places = [shown.index(words) for words in (*order, "! shm.small", "host      Debian", "· gpu.none")]
    assert places == sorted(places)


@pytest.mark.parametrize("columns", [80, 120])
def test_only_commands_are_wider_than_the_screen(columns: int):
    visits = [here(), *(node(number) for number in range(1, 9))]
    diagnoses = [Diagnosis(ICD, (DEVICE,)), Diagnosis(DOWN), Diagnosis(NOTE)]
    for shown in (screen(diagnoses, visits, columns), screen(diagnoses, visits[:1], columns)):
        wide = [line for line in shown.splitlines() if len(line) > columns]
        assert wide == [f"         $ {ICD.command}"]


def test_the_same_finding_on_37_nodes_is_said_once_with_their_names():
    visits = [node(number) for number in range(1, 41)]
    shown = screen([Diagnosis(on(number), (on(number, DEVICE),)) for number in range(1, 38)], visits)
    assert shown.startswith("40 nodes: 3 fine, 37 will fail\n")
    assert shown.count("vulkan.no-device") == 1
    assert "✗ vulkan.icd-missing · image on n[1-37]\n" in shown
    assert "names does not load on NODE" in " ".join(shown.split())
    rows = [line for line in shown.splitlines() if line.startswith(("✗ n[", "✓ n["))]
    assert rows == ["✗ n[1-37]   vulkan.icd-missing in the image", "✓ n[38-40]"]


def test_what_differs_between_nodes_is_a_column_and_what_does_not_is_said_once():
    def older(sheet: dict[str, Any]) -> None:
        sheet["driver"]["version"] = "550.54.15"

    visits = [Visit("login1", "login", sheets.base("cpu-host")), node(1), node(2, older), node(3)]
    lines = screen([Diagnosis(SHM)], visits).splitlines()
    assert "alike  2 × NVIDIA H100 80GB HBM3" in lines[1]
    table = [line for line in lines if line[:3] in ("  n", "✓ l", "✓ n")]
    assert [line.split() for line in table] == [
        ["node", "driver", "first", "cause"],
        ["✓", "login1", "(login)", "-"],
        ["✓", "n1", "570.124.06"],
        ["✓", "n2", "550.54.15"],
        ["✓", "n3", "570.124.06"],
    ]


def test_a_node_without_data_has_a_row_that_says_why():
    visits = [node(1), Visit("n9", "compute", missing={"node": "Slurm says DOWN: dead disk"})]
    shown = screen([Diagnosis(DOWN)], visits)
    assert shown.startswith("2 nodes: 1 fine, 1 could not be checked")
    assert "? n9    no data: Slurm says DOWN: dead disk" in shown


def test_findings_that_differ_in_numbers_are_one_with_a_line_for_each_node():
    low = [Finding("disk.full", "error", f"{n} MB free", "", "free some", place=f"n{n}") for n in range(1, 6)]
    shown = screen([Diagnosis(each) for each in low], [node(number) for number in range(1, 7)])
    assert shown.count("disk.full · n[1-5]") == 1
    assert "seen   n1: 1 MB free\n         n2: 2 MB free\n" in shown
    assert "and 2 more like these" in shown


def test_warnings_on_nodes_are_counted_and_they_are_fine():
    warning = Finding("login.python", "warning", "another Python", place="n2")
    shown = screen([Diagnosis(warning)], [node(1), node(2)])
    assert shown.startswith("2 nodes: 2 fine; warnings on 1\n")
    assert "! n2    login.python" in shown
