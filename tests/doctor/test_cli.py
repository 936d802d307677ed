"""The words of stair-doctor, its exit codes, and what goes to stdout."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stair import console
from stair.doctor.capture import plain, write_capture
from stair.doctor.checks import ALL, chosen_ids
from stair.doctor.cli import main
from stair.doctor.visit import Order, Visit, visit_here
from tests.doctor import sheets


def call(*words: str) -> int:
    return console.run_command(lambda: main(words))


def broken(name: str = "n3") -> Visit:
    """A node whose NVIDIA driver file is gone, and which shall draw with it."""
    host = sheets.base("gpu-host")
    host["vulkan"] = {**host["vulkan"], "icds": [], "devices": [], "named_by": ""}
    host["vulkan"]["instance"] = {"code": -9, "name": "VK_ERROR_INCOMPATIBLE_DRIVER"}
    host["python"] = {**host["python"], "packages": {**host["python"]["packages"], "sapien": "3.0.1"}}
    request = {"gpus_per_node": 1, "render": "nvidia", "kind": "eval"}
    return Visit(name, "here", host, request=request)


def healthy(name: str = "gpu01", role: str = "here") -> Visit:
    return Visit(name, role, copy.deepcopy(sheets.base("gpu-host")))


def captured(folder: Path, *visits: Visit) -> str:
    write_capture(folder / "cap.json", plain(visits))
    return str(folder / "cap.json")


def lost(name: str = "n4") -> Visit:
    return Visit(name, "compute", missing={"node": "Slurm says DOWN: dead disk"})


@pytest.mark.parametrize(
    ("visits", "code", "said"),
    [
        ([healthy()], 0, "✓ gpu01: nothing stands against a run"),
        ([broken()], 1, "will fail"),
        ([healthy("n1", "compute"), lost()], 3, "1 fine, 1 could not be checked"),
        ([broken(), lost()], 1, "no data: Slurm says DOWN"),
    ],
)
def test_the_exit_code_tells_what_was_found(
    visits: list[Visit], code: int, said: str, tmp_path: Path, capsys
):
    assert call("--replay", captured(tmp_path, *visits)) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nodes", "2", "--all-nodes"], "--nodes and --all-nodes exclude each other"),
        (["--replay", "x.json", "--image", "y.sif"], "--replay looks at nothing new"),
        (["--replay", "absent.json"], "absent.json cannot be read"),
        (["--redact"], "--redact is about --capture"),
        (["--json", "--report"], "--report is text"),
        (["--timeout", "0"], "numbers below zero"),
        (["--only", "vulkan.icd-mising"], "did you mean 'vulkan."),
        (["--only", "quokka"], "--list-checks"),
    ],
)
def test_wrong_use_is_two_lines_and_code_2(words: list[str], said: str, capsys):
    assert call(*words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") <= 2


def test_this_machine_is_looked_at_and_kept_and_judged_again_alike(tmp_path: Path, capsys):
    live = call("--run-folder", str(tmp_path), "--capture", str(tmp_path / "c.json"), "--json")
    told = json.loads(capsys.readouterr().out)
    again = call("--replay", str(tmp_path / "c.json"), "--json")
    assert again == live
    assert json.loads(capsys.readouterr().out) == told
    assert told["stair_doctor"] == 1
    assert told["exit"] == live
    assert set(told) == {"stair_doctor", "exit", "diagnoses", "visits"}
    assert told["visits"][0]["host"]["probe"] == 2


def test_json_has_causes_and_what_follows_from_them(tmp_path: Path, capsys):
    call("--replay", captured(tmp_path, broken()), "--json")
    first = json.loads(capsys.readouterr().out)["diagnoses"][0]
    assert first["cause"]["level"] == "error"
    assert first["cause"]["id"].startswith("vulkan.")
    assert "vulkan.instance" in {each["id"] for each in first["consequences"]}


def test_only_asks_the_checks_that_are_named(tmp_path: Path, capsys):
    file = captured(tmp_path, broken())
    assert call("--replay", file, "--only", "disk") == 0
    assert "vulkan" not in capsys.readouterr().out
    assert call("--replay", file, "--only", "vulkan", "--json") == 1
    told = json.loads(capsys.readouterr().out)["diagnoses"]
    assert all(each["cause"]["id"].startswith("vulkan.") for each in told)


def test_a_room_stands_for_all_its_checks():
    room = {check.id for check in ALL if check.id.startswith("vulkan.")}
    assert set(chosen_ids(["vulkan"])) == set(chosen_ids(["vulkan."])) == room
    one = sorted(room)[0]
    assert chosen_ids([one, one]) == (one,)


def test_every_check_is_listed_for_people_and_programs(capsys):
    ids = [check.id for check in ALL]
    assert call("--list-checks") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ids
    assert call("--list-checks", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in listed] == ids
    assert all(each["about"] and each["where"] for each in listed)


def test_a_redacted_capture_names_nobody_and_gives_the_same_answer(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "quokka-4711-zebra")
    plainly, file = tmp_path / "plain.json", tmp_path / "redacted.json"
    seen = visit_here(Order(folder=str(tmp_path)))  # once: a machine may change between two looks
    monkeypatch.setattr("stair.doctor.visit.visit_here", lambda order: seen)
    code = call("--run-folder", str(tmp_path), "--capture", str(plainly))
    assert call("--run-folder", str(tmp_path), "--capture", str(file), "--redact") == code
    assert str(tmp_path) in plainly.read_text()
    for private in (str(tmp_path), os.uname().nodename + '"', "quokka-4711"):
        assert private not in file.read_text()
    assert call("--replay", str(file)) == code


def test_a_report_is_markdown_without_names(tmp_path: Path, capsys):
    code = call("--replay", captured(tmp_path, broken("zebra07"), lost("zebra08")), "--report")
    shown = capsys.readouterr().out
    assert code == 1
    assert shown.startswith("**stair-doctor** ")
    assert "zebra" not in shown
    assert "GPU-6f1b2c3d" not in shown
    assert "host.vulkan: {" in shown
    assert shown.count("```") % 2 == 0


def screen(file: str, **environment: str) -> bytes:
    variables = {**os.environ, **environment}
    words = [sys.executable, "-m", "stair.doctor", "--replay", file]
    return subprocess.run(words, env=variables, capture_output=True, timeout=60).stdout


def on_a_terminal(file: str, **environment: str) -> str:
    """What is written to a terminal of 80 columns."""
    code = (
        "import os, pty, sys, fcntl, termios, struct\n"
        "pid, fd = pty.fork()\n"
        "words = [sys.executable, '-m', 'stair.doctor', '--replay', sys.argv[1]]\n"
        "if not pid: os.execv(words[0], words)\n"
        "fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))\n"
        "try:\n"
        "    while chunk := os.read(fd, 4096): sys.stdout.buffer.write(chunk)\n"
        "except OSError: pass\n"
    )
    words = [sys.executable, "-c", code, file]
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    done = subprocess.run(words, env={**variables, **environment}, capture_output=True, timeout=60)
    return done.stdout.decode()


def test_a_pipe_gets_no_colours_and_a_terminal_does_unless_told(tmp_path: Path):
    file = captured(tmp_path, broken())
    assert b"\033" not in screen(file)
    assert "\033[31;1m✗" in on_a_terminal(file, TERM="xterm", PYTHONIOENCODING="utf-8")
    assert "\033" not in on_a_terminal(file, TERM="xterm", NO_COLOR="1")
    assert "\033" not in on_a_terminal(file, TERM="dumb")


def test_a_locale_without_unicode_gets_ascii(tmp_path: Path):
    shown = screen(captured(tmp_path, broken()), PYTHONIOENCODING="ascii")
    assert b"x vulkan." in shown
    assert b"2 x NVIDIA H100" in shown
    assert b"?" not in shown.splitlines()[0]


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path):
    words = f"{sys.executable} -m stair.doctor --replay {captured(tmp_path, broken())} | head -n 1"
    done = subprocess.run(["bash", "-c", words], capture_output=True, timeout=60)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def loaded_by(*words: str) -> set[str]:
    code = (
        "import sys; from stair.doctor.cli import main\n"
        f"try: main({list(words)!r})\n"
        "except SystemExit: pass\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["--list-checks"]])
def test_help_and_the_list_load_nothing_heavy(words: list[str]):
    heavy: set[Any] = {"torch", "numpy", "rich", "yaml", "draccus", "submitit"}
    assert not loaded_by(*words) & heavy


def test_help_loads_no_check():
    assert not {name for name in loaded_by("--help") if name.startswith("stair.doctor.vulkan")}
