"""Commands are asked side by side, and failures are told. The answers of a real cluster: tests/slurm."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from stair.cluster.slurm import read_cluster
from stair.errors import StairError

RECORDED = Path(__file__).parent / "recorded" / "22.05.8"
SCONTROL = f"""case "$*" in
*config) cat {RECORDED}/config.txt;;
*partition) cat {RECORDED}/partition.txt;;
*) cat {RECORDED}/node.txt;;
esac"""
SACCTMGR = f"cat > questions.txt; cat {RECORDED}/accounting.txt"


def commands(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment whose PATH has these commands first."""
    for name, text in scripts.items():
        file = folder / name
        file.write_text(f"#!/bin/sh\ncd {shlex.quote(str(folder))}\n{text}\n")
        file.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "SLURM_CONF": "/etc/x.conf", "SLURM_CLUSTERS": "other"}


def test_a_cluster_is_read_by_four_commands(tmp_path: Path):
    count = "echo x >> count; "
    facts = read_cluster(commands(tmp_path, scontrol=count + SCONTROL, sacctmgr=count + SACCTMGR))
    assert (facts.version, facts.cluster, len(facts.nodes)) == ("22.05.8", "stair", 4)
    assert facts.associations
    assert facts.qos
    assert facts.groups
    assert len((tmp_path / "count").read_text().split()) == 4
    assert [line.split()[1] for line in (tmp_path / "questions.txt").read_text().splitlines()] == [
        "qos",
        "user",
        "assoc",
    ]


def test_the_commands_see_slurm_conf_and_nothing_else_of_slurm(tmp_path: Path):
    script = "env | grep SLURM > seen; " + SCONTROL
    read_cluster(commands(tmp_path, scontrol=script, sacctmgr=SACCTMGR))
    assert (tmp_path / "seen").read_text() == "SLURM_CONF=/etc/x.conf\n"


def test_the_commands_run_side_by_side(tmp_path: Path):
    meet = "touch here.$$; until [ $(ls here.* | wc -l) = 4 ]; do sleep 0.05; done; "
    environment = commands(tmp_path, scontrol=meet + SCONTROL, sacctmgr=meet + SACCTMGR)
    assert not read_cluster(environment, timeout_s=120).unread


def test_without_slurm_commands_the_cure_is_a_login_node(tmp_path: Path):
    with pytest.raises(StairError, match="no 'scontrol' on PATH") as failure:
        read_cluster({"PATH": str(tmp_path)})
    assert "login node" in failure.value.hint


def test_a_controller_that_does_not_answer_is_told_with_its_own_words(tmp_path: Path):
    words = "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)"
    environment = commands(tmp_path, scontrol=f"echo '{words}' >&2; exit 1", sacctmgr=SACCTMGR)
    with pytest.raises(StairError, match="Unable to contact slurm controller") as failure:
        read_cluster(environment)
    assert "SLURM_CONF=/etc/x.conf" in failure.value.hint


def test_a_controller_that_hangs_is_left_after_the_time_limit(tmp_path: Path):
    environment = commands(tmp_path, scontrol="exec sleep 300", sacctmgr=SACCTMGR)
    began = time.monotonic()
    with pytest.raises(StairError, match="no answer within"):
        read_cluster(environment, timeout_s=0.5)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "script",
    [
        "echo 'sacctmgr: error: slurmdbd: Connection refused' >&2; exit 1",
        "cat >/dev/null; echo 'Problem' >&2",
    ],
)
def test_accounting_that_does_not_answer_leaves_facts_without_accounts(tmp_path: Path, script: str):
    facts = read_cluster(commands(tmp_path, scontrol=SCONTROL, sacctmgr=script))
    assert facts.associations is None
    assert facts.qos is None
    assert len(facts.unread) == 1
    assert facts.unread[0].startswith("accounts, QOS and their limits (sacctmgr: ")


def test_a_cluster_without_accounting_is_not_taken_for_one_whose_accounting_is_down(tmp_path: Path):
    scontrol = SCONTROL.replace(
        f"cat {RECORDED}/config.txt",
        f"sed s/accounting_storage.slurmdbd/accounting_storage_none/ {RECORDED}/config.txt",
    )
    facts = read_cluster(commands(tmp_path, scontrol=scontrol, sacctmgr="cat >/dev/null; exit 1"))
    assert not facts.accounting
    assert facts.unread == ()
