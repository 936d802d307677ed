"""An argv inside an image; tests/slurm/test_image_walls.py asks a real Apptainer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stair.cluster.container import (
    Bind,
    ContainerConfig,
    gets_gpus,
    in_container,
    read_bind,
    runs_inside,
    runtime_environment,
    with_drivers,
)
from stair.errors import UsageError

ARGV = ("python", "-m", "stair.train", "--config", "a b.yaml")
START = ("apptainer", "exec", "--cleanenv", "--no-eval", "--no-home")


def test_without_an_image_nothing_changes():
    assert in_container(ARGV, "", ContainerConfig(), folders=["/run"], gpus=True) == ARGV
    assert not runs_inside(ARGV)


def test_inside_an_image_folders_are_mounted_once_and_the_argv_stays():
    container = ContainerConfig(train_image="t.sif", binds=("/data:/data:ro", "/run"))
    words = in_container(ARGV, "t.sif", container, folders=["/run", "/code:/opt/src:ro"])
    assert words == (
        *START,
        *("--mount", 'type=bind,"source=/run","destination=/run"'),
        *("--mount", 'type=bind,"source=/code","destination=/opt/src",ro'),
        *("--mount", 'type=bind,"source=/data","destination=/data",ro'),
        "t.sif",
        *ARGV,
    )
    assert runs_inside(words)


def test_nv_only_with_gpus():
    assert "--nv" in in_container(ARGV, "t.sif", ContainerConfig(), gpus=True)
    assert "--nv" not in in_container(ARGV, "t.sif", ContainerConfig())


def test_only_a_start_with_nv_gets_gpus_whatever_its_program_is_told():
    assert gets_gpus(in_container(ARGV, "t.sif", ContainerConfig(), gpus=True))
    assert not gets_gpus(in_container(("--nv",), "t.sif", ContainerConfig()))
    assert not gets_gpus((*ARGV, "--nv"))


def test_what_a_driver_needs_comes_behind_what_profile_and_step_say():
    container = ContainerConfig(binds=("/site/own.json:/opt/stair/icd/nvidia_icd.json:ro",))
    argv = in_container(ARGV, "t.sif", container, gpus=True)
    binds = [Bind("/h/a.json", "/opt/stair/icd/nvidia_icd.json", True), Bind("/h/b.so.1", "/d/b.so.1", True)]
    step = runtime_environment({}, (), {"LD_LIBRARY_PATH": "/own", "VK_DRIVER_FILES": "/own.json"})
    words, variables = with_drivers(
        argv, step, binds, {"LD_LIBRARY_PATH": "/d", "VK_DRIVER_FILES": "/v", "A": "1"}
    )
    ours = ("--mount", 'type=bind,"source=/h/b.so.1","destination=/d/b.so.1",ro')
    assert words == (*START, "--nv", *ours, *argv[len(START) + 1 :])
    assert variables == {
        "APPTAINERENV_LD_LIBRARY_PATH": "/own:/d",
        "APPTAINERENV_VK_DRIVER_FILES": "/own.json",
        "APPTAINERENV_A": "1",
    }
    assert with_drivers(argv, step, (), {}) == (argv, step)


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("/data", Bind("/data")),
        ("/data:ro", Bind("/data", "", True)),
        ("/data:/inside", Bind("/data", "/inside")),
        ("/data:/inside:ro", Bind("/data", "/inside", True)),
        ("/data:/inside:rw", Bind("/data", "/inside")),
        ("/a:b,c", Bind("/a:b,c")),
        ("/a\nb:/c", Bind("/a\nb", "/c")),
    ],
)
def test_a_colon_separates_only_before_a_slash_or_an_option(text: str, bind: Bind):
    assert read_bind(text) == bind


@pytest.mark.parametrize("text", ["", "data:/data", "~/data", "$SCRATCH:/scratch"])
def test_what_is_no_bind_is_refused(text: str):
    with pytest.raises(UsageError, match="is no bind"):
        read_bind(text)


@pytest.mark.parametrize(
    "bind", [Bind("data"), Bind("/a\rb"), Bind("/a", "b"), Bind("/a\0"), Bind("/\udcff")]
)
def test_a_path_that_apptainer_cannot_be_told_is_refused(bind: Bind):
    with pytest.raises(UsageError, match="cannot be bound"):
        bind.words()


def test_only_what_is_named_crosses_the_wall_and_nothing_of_it_stands_in_argv():
    host = {
        "TOKEN": "secret",
        "OTHER": "hidden",
        "PATH": "/bin",
        "APPTAINERENV_SNEAKY": "1",
        "APPTAINER_BIND": "/",
    }
    variables = runtime_environment(host, ("TOKEN", "ABSENT"), {"A": "1", "TOKEN": "of the plan"})
    assert variables == {"PATH": "/bin", "APPTAINERENV_TOKEN": "of the plan", "APPTAINERENV_A": "1"}
    words = in_container(ARGV, "t.sif", ContainerConfig(), environment={"A": "value-1"})
    assert "value-1" not in " ".join(words)


@pytest.mark.parametrize(
    "environment",
    [{"HOME": "x"}, {"A-B": "x"}, {"": "x"}, {"A": "secret\0"}, {"A": "secret\r\n"}, {"A": "secret\udcff"}],
)
def test_variables_that_cannot_be_set_inside_are_refused_without_their_values(environment: dict[str, str]):
    with pytest.raises(UsageError, match="cannot be ") as caught:
        in_container(ARGV, "t.sif", ContainerConfig(), environment=environment)
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError):
        runtime_environment({}, (), environment)


@pytest.mark.parametrize("word", ["a\0", "\udcff"])
def test_a_word_that_apptainer_would_change_is_refused(word: str):
    with pytest.raises(UsageError, match="cannot be said"):
        in_container([word], "t.sif", ContainerConfig())
    assert in_container([word], "", ContainerConfig()) == (word,)


@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=("Cs",))), st.booleans())
def test_a_mount_read_back_as_csv_is_what_was_meant(name: str, read_only: bool):
    import csv
    import io

    _, text = Bind(f"/{name}", "/in,side", read_only).words()
    assert next(csv.reader(io.StringIO(text, newline=""), strict=True)) == [
        "type=bind",
        f"source=/{name}",
        "destination=/in,side",
        *(["ro"] if read_only else []),
    ]
