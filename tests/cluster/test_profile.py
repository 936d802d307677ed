"""Names and paths become profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.cluster import profile
from stair.cluster.profile import ClusterProfile, read_profile
from stair.errors import UsageError


def test_the_local_profile_of_the_checkout_refuses_nothing():
    local = read_profile("local")
    assert (local.name, local.executor, local.cores, local.gpus_per_node) == ("local", "local", 0, None)


def test_local_exists_without_any_file(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(profile, "profile_folders", lambda: [tmp_path])
    assert read_profile("local") == ClusterProfile()


def test_the_working_folder_comes_first(monkeypatch, tmp_path: Path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "local.yaml").write_text(
        "cores: 3\ncontainer: {train_image: t.sif, binds: [/data]}\n"
    )
    monkeypatch.chdir(tmp_path)
    found = read_profile("local")
    assert (found.cores, found.container.binds) == (3, ("/data",))
    assert found.container.train_image == str(tmp_path / "t.sif")


def test_a_profile_may_be_a_path(tmp_path: Path):
    file = tmp_path / "lab.yaml"
    file.write_text("executor: slurm\n")
    assert read_profile(str(file)).name == "lab"


def test_an_unknown_cluster_and_an_unknown_key_are_refused_with_the_nearest(tmp_path: Path):
    with pytest.raises(UsageError, match="did you mean 'local'"):
        read_profile("locl")
    file = tmp_path / "lab.yaml"
    file.write_text("core: 3\n")
    with pytest.raises(UsageError, match="did you mean 'cores'"):
        read_profile(str(file))
