"""The house stands: what loads what, and in which direction."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stair

HOUSE = Path(stair.__file__).parent
FLOORS = {
    5: ("submit", "report"),
    4: ("serve", "train", "evaluate", "collect"),
    3: ("models", "sim", "doctor"),
    2: ("data", "policy", "rundir", "origin", "cluster"),
    1: ("errors", "console", "settings", "frozen", "parent", "interrupts"),
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def modules() -> Iterator[tuple[str, Path]]:
    """The dotted name and the file of every module."""
    for path in sorted(HOUSE.rglob("*.py")):
        parts = path.relative_to(HOUSE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything of ours that a module imports, at its top or inside."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "stair")


def room_of(name: str) -> str | None:
    """The room, or the ground-floor file, of a dotted name; None for the package itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR else None


def loaded_after(code: str) -> set[str]:
    """The modules in a fresh Python that ran `code`."""
    report = "\nimport sys\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_every_room_stands_on_a_floor():
    rooms = {name.split(".")[1] for name, _ in modules() if name.count(".")}
    assert rooms == set(FLOOR)


def test_no_import_goes_up_a_floor():
    upward = [
        f"{path.relative_to(HOUSE.parent)}:{line}: {name}"
        for module, path in modules()
        for line, name in imported(path)
        if (room_of(module) and room_of(name)) and FLOOR[room_of(name)] > FLOOR[room_of(module)]
    ]
    assert not upward, "\n".join(upward)


def test_rooms_do_not_import_in_circles():
    needs: dict[str, set[str]] = {}
    for module, path in modules():
        room = room_of(module)
        if room:
            others = {room_of(name) for _, name in imported(path)} - {room, None}
            needs.setdefault(room, set()).update(other for other in others if other)
    list(graphlib.TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    "code",
    [
        "from stair.submit.cli import main; main(['--help'])",
        "from stair.submit.cli import main; main(['smoke', '--help'])",
        "from stair.submit.cli import main; main(['smoke', '--dry'])",
        "from stair.doctor.cli import main; main(['--timeout', '20'])",
        "from stair.report.cli import _parser; _parser().format_help()",
    ],
)
def test_the_three_commands_load_no_torch_and_no_numpy(code: str):
    assert not loaded_after(code) & {"torch", "numpy"}


def test_help_loads_neither_settings_nor_drawing():
    heavy = {"draccus", "yaml", "rich", "submitit", "dataclasses"}
    assert not loaded_after("from stair.submit.cli import main; main(['--help'])") & heavy


def test_the_evaluation_side_loads_nothing_of_the_training_side():
    rooms = ("stair.policy.", "stair.sim.", "stair.evaluate.")
    names = [name for name, _ in modules() if name.startswith(rooms) and not name.endswith("__main__")]
    assert len(names) > 10
    loaded = loaded_after("\n".join(f"import {name}" for name in names))
    forbidden = ("stair.data", "stair.models", "stair.train", "torch")
    assert not {name for name in loaded if name.startswith(forbidden)}


def test_init_files_of_rooms_are_empty():
    assert not [
        path
        for name, path in modules()
        if path.name == "__init__.py" and name != "stair" and path.read_text()
    ]
