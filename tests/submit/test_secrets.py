"""Secrets are found, refused by name, withheld from jobs, and never said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stair.errors import StairError, UsageError
from stair.submit.cli import recipes
from stair.submit.recipe import make_chain, read_recipe
from stair.submit.secrets import (
    check_kept,
    dotted_texts,
    exported,
    find_secrets,
    is_secret,
    redact,
    refuse_secrets,
    scrub,
    secrets_file,
    secrets_for,
)

CANARY = "c4nary-0f8e/2b+b"
HEX = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f"--wandb.name={CANARY}",
        f"/data:{CANARY}:ro",
        "https://host/?key=c4nary-0f8e%2F2b%2Bb",
        f"a\n{CANARY}",
    ],
)
def test_a_variable_s_value_is_found_wherever_it_stands(text: str):
    (finding,) = find_secrets({"train.note": text}, {"MY_API_KEY": CANARY})
    assert (finding.setting, finding.what) == ("train.note", "the value of MY_API_KEY")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("note", "hf_" + "aB3" * 11),
        ("note", "x ghp_" + "a1" * 18),
        ("note", "github_pat_" + "a_1" * 12),
        ("note", "sk-proj-" + "a1" * 12),
        ("note", "AKIA" + "ABCDEFGH12345678"),
        ("note", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc"),
        ("note", "eyJhbGciOiJI.eyJzdWIiOiIx.abc-def_g"),
        ("proxy", "http://me:pass@proxy:3128"),
        ("note", f"WANDB_API_KEY={HEX}"),
        ("note", f'"api_key": "{HEX}"'),
        ("wandb.key", HEX),
        ("tracking.api_key", "anything-long"),
        ("environment.HF_TOKEN", "anything-long"),
        ("db.password", "correct horse"),
    ],
)
def test_well_known_shapes_and_telling_names_are_found_without_any_variable(name: str, text: str):
    assert [finding.setting for finding in find_secrets({name: text}, {})] == [name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("revision", HEX),
        ("model.tokenizer", "Qwen/Qwen2.5-7B-Instruct"),
        ("data.image_key", "observation/image_primary"),
        ("data.max_tokens", "4096"),
        ("train.init_from", "{run}/disk-2024-models-stage-1"),
        ("serve.address", "ws://node1:8000/policy"),
        ("eval.token", "none"),
        ("note", "task-with-a-long-name-of-2024-and-more"),
    ],
)
def test_what_is_no_secret_is_left_alone(name: str, text: str):
    environment = {
        "SSH_AUTH_SOCK": "/tmp/ssh-abc/agent.1",
        "GIT_AUTHOR_NAME": "note",
        "AUTH_MODE": "password",
    }
    assert find_secrets({name: text}, environment) == []


def test_no_recipe_of_ours_holds_what_looks_like_a_secret():
    for name, _ in recipes():
        chain = make_chain(name, read_recipe(name), [])
        assert find_secrets(dotted_texts(chain), {"SOME_TOKEN": CANARY}) == []


def test_a_refusal_names_the_setting_and_the_way_out_and_not_the_value():
    plan = {"steps": [{"argv": ["--note", CANARY], "settings": {"train": {"note": CANARY}}}]}
    with pytest.raises(UsageError, match=r"'0.train.note' contains the value of MY_TOKEN") as caught:
        refuse_secrets(plan, {"MY_TOKEN": CANARY})
    assert CANARY not in str(caught.value)
    assert "container.keep" in caught.value.hint


def test_redacting_leaves_nothing_of_a_secret():
    text = f"a {CANARY} b {HEX} c https://u:{HEX}@host/ key={HEX}"
    shown = redact(text, {"A_SECRET": CANARY, "A_SECRET_TOO": CANARY[:10]})
    assert CANARY[:10] not in shown
    assert shown.count(HEX) == 1  # a commit, for all we know
    assert shown.startswith("a [A_SECRET not shown] b")


OUTER = {
    "SLURM_CONF": "/etc/slurm.conf",
    **dict.fromkeys(["SLURM_JOB_ID", "SBATCH_EXPORT", "SRUN_CPUS_PER_TASK", "SALLOC_PARTITION"], "7"),
    **dict.fromkeys(["SLURMD_NODENAME", "SUBMITIT_EXECUTOR", "PMI_RANK", "PMI2_X", "PMIX_RANK"], "7"),
    **dict.fromkeys(["OMPI_COMM_WORLD_RANK"], "7"),
}


def test_what_an_outer_job_set_is_scrubbed_and_slurm_conf_is_kept():
    assert scrub({**OUTER, "HOME": "/h", "SLURMY": "x"}) == {
        "SLURM_CONF": "/etc/slurm.conf",
        "HOME": "/h",
        "SLURMY": "x",
    }


def test_a_job_inherits_few_names_and_no_secret_even_when_it_is_to_be_kept():
    plain = {"HOME": "/h", "PATH": "/bin", "LC_ALL": "C", "NCCL_DEBUG": "INFO", "HF_HOME": "/hf"}
    other = {"EDITOR": "vi", "TMPDIR": "/x", "BASH_ENV": "/evil", "CANARY": "c"}
    secret = {"MY_TOKEN": CANARY, "HTTPS_PROXY": f"http://u:{HEX}@p:1"}
    environment = {**OUTER, **plain, **other, **secret}
    keep = ("NCCL_DEBUG", "MY_TOKEN", "HF_HOME", "HTTPS_PROXY", "SLURM_JOB_ID", "UNSET")
    assert exported(environment, keep) == ("HF_HOME", "HOME", "LC_ALL", "NCCL_DEBUG", "PATH", "SLURM_CONF")


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("WANDB_API_KEY", "x", True),
        ("HF_TOKEN", "x", True),
        ("PGPASSWORD", "x", True),
        ("MYAPIKEY", "x", True),
        ("CREDENTIALS", "x", True),
        ("HF_TOKEN", "", False),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key.json", False),
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("PATH", "/bin", False),
        ("NOTE", "hf_" + "aB3" * 11, True),
    ],
)
def test_names_and_shapes_tell_a_secret(name: str, value: str, secret: bool):
    assert is_secret(name, value) is secret


def a_secrets_file(home: Path, text: str, mode: int = 0o600) -> Path:
    path = secrets_file(home)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_node_reads_kept_secrets_from_the_user_s_own_file(tmp_path: Path):
    a_secrets_file(tmp_path, f"# mine\n\nHF_TOKEN={CANARY}=\nOTHER_TOKEN=x\n")
    assert secrets_for(["HF_TOKEN", "HOME"], home=tmp_path) == {"HF_TOKEN": CANARY + "="}
    assert secrets_for(["HF_TOKEN"], home=tmp_path / "nobody") == {}


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (f"HF_TOKEN={CANARY}\n", 0o640, "not for its user alone"),
        (f"export HF_TOKEN={CANARY}\n", 0o600, ":1 is not of the form"),
        (f"A=1\n{CANARY}\n", 0o600, ":2 is not of the form"),
    ],
)
def test_a_secrets_file_that_others_read_or_that_is_none_is_refused_without_showing_it(
    tmp_path: Path, text: str, mode: int, said: str
):
    a_secrets_file(tmp_path, text, mode)
    with pytest.raises(StairError, match=re.escape(said)) as caught:
        secrets_for(["HF_TOKEN"], home=tmp_path)
    assert CANARY not in str(caught.value)


def test_a_kept_secret_that_would_not_reach_the_job_is_refused_with_the_way_to_do_it(tmp_path: Path):
    with pytest.raises(UsageError, match="HF_TOKEN is to be kept") as caught:
        check_kept({"HF_TOKEN": CANARY}, ["HOME", "HF_TOKEN"], home=tmp_path)
    assert CANARY not in str(caught.value)
    check_kept({}, ["HF_TOKEN"], home=tmp_path)
    a_secrets_file(tmp_path, "HF_TOKEN=other\n")
    check_kept({"HF_TOKEN": CANARY}, ["HF_TOKEN"], home=tmp_path)
