"""An argv inside an image."""

from __future__ import annotations

from stair.cluster.container import ContainerConfig, in_container, passed_variables

ARGV = ("python", "-m", "stair.train", "--config", "a b.yaml")


def test_without_an_image_nothing_changes():
    assert in_container(ARGV, "", ContainerConfig(), folders=["/run"], gpus=True) == ARGV
    assert passed_variables(ContainerConfig(), {"MASTER_ADDR": "n1"}) == {}


def test_inside_an_image_binds_and_variables_are_named_and_the_argv_stays():
    container = ContainerConfig(train_image="t.sif", binds=("/data:/data:ro", "/run"))
    words = in_container(ARGV, "t.sif", container, folders=["/run"], environment={"B": "2", "A": "1"})
    assert words == (
        *("apptainer", "exec", "--cleanenv", "--bind", "/run", "--bind", "/data:/data:ro"),
        *("--env", "A=1", "--env", "B=2", "t.sif"),
        *ARGV,
    )


def test_nv_only_with_gpus():
    assert "--nv" in in_container(ARGV, "t.sif", ContainerConfig(), gpus=True)
    assert "--nv" not in in_container(ARGV, "t.sif", ContainerConfig())


def test_host_variables_cross_the_wall_by_name_and_never_stand_in_argv():
    container = ContainerConfig(train_image="t.sif", keep=("TOKEN", "ABSENT"))
    assert passed_variables(container, {"TOKEN": "secret"}) == {"APPTAINERENV_TOKEN": "secret"}
    assert "secret" not in " ".join(in_container(ARGV, "t.sif", container))
