"""Words, variables and folders pass the wall of a real image as they were meant, and nothing else does."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from random import Random

import pytest

from stair.cluster.container import Bind, ContainerConfig, in_container, runtime_environment
from tests.submit.hostile import SNIPPETS, Case, draw_cases, joined, read_witness, write_witness


@pytest.fixture(scope="module")
def image(apptainer: Path) -> Path:
    """The image with torch for CPUs."""
    path = Path(__file__).parents[2] / "build" / "stair-train-cpu.sif"
    if not path.exists():
        pytest.skip(f"no image {path.name} here: containers/build cpu")
    return path


def run(argv: tuple[str, ...], environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, env=environment, cwd=cwd, capture_output=True, timeout=120)


def host(apptainer: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{apptainer.parent}:{os.environ['PATH']}", **more}


def passable(case: Case) -> Case:
    """The case without what stair refuses to send: bytes that are no UTF-8, and \\r\\n in variables."""

    def clean(text: str) -> str:
        return text.replace("\udcff", "\\xff")

    values = {name: re.sub("\r+\n", "\n", clean(value)) for name, value in case.environment.items()}
    return Case([clean(word) for word in case.argv], values)


def test_a_thousand_hostile_commands_and_variables_arrive_inside(
    apptainer: Path, image: Path, tmp_path: Path
):
    witness = str(write_witness(tmp_path))
    for seed in range(20):
        meant = passable(joined(draw_cases(50, seed)))
        got = tmp_path / f"got-{seed}"
        words = in_container(
            (witness, str(len(meant.argv)), *meant.argv),
            str(image),
            ContainerConfig(),
            folders=[str(tmp_path)],
            environment=meant.environment,
        )
        variables = runtime_environment(host(apptainer), (), {**meant.environment, "WITNESS": str(got)})
        done = run(words, variables, tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        assert read_witness(got) == [meant]


def test_hostile_folders_are_seen_inside_where_they_are(apptainer: Path, image: Path, tmp_path: Path):
    random, binds, places = Random(7), [], []
    for number in range(60):
        name = f"{number}" + "".join(random.choices(SNIPPETS, k=6))
        name = name.translate(dict.fromkeys(map(ord, "/\r\udcff")))
        place = tmp_path / name / "inner"
        place.mkdir(parents=True)
        (place / "here").write_text(str(number))
        binds.append(Bind(str(place), read_only=bool(number % 2)))
        places.append(str(place))
    look = (
        'for place; do cat "$place/here"; touch "$place/new" 2>/dev/null && printf w; printf " "; done; pwd'
    )
    words = in_container(("sh", "-c", look, "sh", *places), str(image), ContainerConfig(), folders=binds)
    done = run(words, runtime_environment(host(apptainer), (), {}), Path(places[2]))
    assert done.stderr == b""
    seen, _, here = os.fsdecode(done.stdout).partition(" /")
    assert seen.split() == [f"{number}" if number % 2 else f"{number}w" for number in range(60)]
    assert f"/{here}" == places[2] + "\n"


def test_nothing_of_the_host_gets_in_that_was_not_named(apptainer: Path, image: Path, tmp_path: Path):
    sneaky = {
        "CANARY": "secret",
        "APPTAINERENV_CANARY": "secret",
        "SINGULARITYENV_CANARY": "secret",
        "APPTAINER_BIND": f"{tmp_path}:/canary",
        "PYTHONPATH": "/canary",
        "KEPT": "kept",
    }
    look = "env; cat /proc/self/environ /proc/$PPID/environ; ls /can*ry"
    words = in_container(("sh", "-c", look), str(image), ContainerConfig())
    done = run(words, runtime_environment(host(apptainer, **sneaky), ("KEPT",), {}), Path("/"))
    seen = (done.stdout + done.stderr).decode(errors="replace")
    assert "KEPT=kept" in seen
    assert "secret" not in seen
    assert "CANARY" not in seen
    assert "canary" not in seen
    assert "ls: cannot access '/can*ry'" in seen


def test_without_no_eval_apptainer_would_run_what_stands_in_a_variable(apptainer: Path, image: Path):
    # Why the flag is there; when this fails, Apptainer has changed its mind and the flag may go.
    variables = runtime_environment(host(apptainer), (), {"VALUE": "$(echo was run)"})
    words = in_container(("printenv", "VALUE"), str(image), ContainerConfig())
    assert run(words, variables, Path("/")).stdout == b"$(echo was run)\n"
    careless = tuple(word for word in words if word != "--no-eval")
    assert run(careless, variables, Path("/")).stdout == b"was run\n"


@pytest.mark.parametrize(
    ("program", "code"),
    [("exit 75", 75), ("exit 137", 137), ("exit 255", 255), ("kill -9 $$", -9), ("kill -6 $$", -6)],
)
def test_how_a_program_ends_is_how_its_image_ends(apptainer: Path, image: Path, program: str, code: int):
    words = in_container(("sh", "-c", program), str(image), ContainerConfig())
    assert run(words, runtime_environment(host(apptainer), (), {}), Path("/")).returncode == code


def test_a_program_that_dies_of_sigterm_may_look_like_exit_one(apptainer: Path, image: Path):
    # stepping.judge rests on this; which of the two it is depends on who of Apptainer's threads is quicker.
    words = in_container(("sh", "-c", "kill -15 $$"), str(image), ContainerConfig())
    assert run(words, runtime_environment(host(apptainer), (), {}), Path("/")).returncode in (1, -15)
