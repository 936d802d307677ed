"""What is private does not leave in a report, wherever in a sheet it stands."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from stair.doctor.finding import fold
from stair.doctor.redact import make_redactor, redact
from stair.doctor.report import as_report
from stair.doctor.visit import Visit, from_json, to_json
from tests.doctor import sheets

HOST, LOGIN, USER, ACCOUNT, GROUP = "zebra017", "okapi-login2", "ymcanaryf", "proj_quokka", "lab-wombat"
TOKENS = (
    "hf_QkWdkfjSkqpAzLmvNryTbExGhU",
    "sk-proj9aB8c7D6e5F4g3H2i1J0",
    "3f9a0c7e5b1d4826af0e9c7b5d3a1f8e6c4b2a09",
    "glpat-aBcDeFgHiJ",
)
PASSWORD = "Tr0ub4dor-and-3"
ADDRESSES = ("10.77.3.141", "fe80::a236:9fff:fe12:3456", "a2:36:9f:12:34:56", "192.168.212.9")
UUID = "GPU-6f1b2c3d-1a2b-4a5b-8c9d-0e1f2a3b4c51"
SENTENCES = (
    f"/home/{USER}/runs/eval.sif: Permission denied",
    f"cannot open /gpfs/projects/x/home/{USER}/.cache/stair",
    f"owner is {USER}, group {GROUP}",
    f"{HOST}: connection refused",
    f"srun: error: {HOST}.cluster.zoo.edu: task 3: Killed",
    f"mounted from nfs01.zoo-secret.edu:/export on {HOST}",
    f"https://{USER}:{PASSWORD}@git.zoo.edu/x.git",
    f"Authorization: Bearer {TOKENS[1]}",
    f"HF_TOKEN={TOKENS[0]} was used",
    f"wandb login {TOKENS[2]}",
    f"git clone with {TOKENS[3]} failed",
    f"listening on {ADDRESSES[0]}:8321, not {ADDRESSES[3]}.",
    f"route via {ADDRESSES[1]} dev eth0 lladdr {ADDRESSES[2]}",
    f"{UUID} fell off the bus",
    f"job of account {ACCOUNT} on {HOST}",
    f"/scratch/{USER}-tmp/data",
    f"mail {USER}@zoo.edu",
)
CANARIES = (
    *(HOST, LOGIN, USER, ACCOUNT, GROUP, PASSWORD, UUID, "zoo.edu", "zoo-secret", "nfs01"),
    *TOKENS,
    *ADDRESSES,
)


def poisoned(seed: int) -> Visit:
    """A visit with canaries at every text, and in every place where names belong."""
    rng = random.Random(seed)
    host, image = sheets.base("gpu-host"), sheets.base("eval-image")

    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poison(each) for key, each in value.items()}
        if isinstance(value, list):
            return [
                *(poison(each) for each in value),
                *([rng.choice(SENTENCES)] if rng.random() < 0.2 else []),
            ]
        if isinstance(value, str):
            return f"{value} {rng.choice(SENTENCES)}" if rng.random() < 0.7 else rng.choice(SENTENCES)
        return value

    sides = []
    for sheet in (host, image):
        bad = poison(copy.deepcopy(sheet))
        bad["host"] = HOST
        bad["system"]["groups"] = ["video", GROUP]
        bad["variables"] = {
            "USER": USER,
            "SLURM_JOB_ACCOUNT": ACCOUNT,
            "SLURM_SUBMIT_HOST": LOGIN,
            "SLURM_JOB_NODELIST": "zebra[016-018]",
            "WANDB_API_KEY": PASSWORD,
            "APPTAINERENV_MY_SECRET": PASSWORD,
            "LD_LIBRARY_PATH": f"/home/{USER}/lib:/usr/lib:/scratch/{ACCOUNT}/lib",
            "VK_DRIVER_FILES": f"/home/{USER}/icd.json",
            "MASTER_ADDR": ADDRESSES[0],
        }
        sides.append(bad)
    file = {"path": f"/home/{USER}/eval.sif", "labels": poison({"stair.kind": "eval", "author": USER})}
    request = {"kind": "eval", "render": "nvidia", "note": rng.choice(SENTENCES)}
    missing = {"image": rng.choice(SENTENCES)}
    return Visit(HOST, "compute", sides[0], sides[1], file, request, missing, {"said": list(SENTENCES)})


def found(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary.lower() in text.lower()]


@pytest.mark.parametrize("seed", range(12))
def test_no_canary_leaves_in_a_redacted_capture(seed: int):
    tree = to_json(poisoned(seed))
    assert set(found(json.dumps(tree))) == set(CANARIES)
    assert not found(json.dumps(redact([tree])))


@pytest.mark.parametrize("seed", range(6))
def test_no_canary_leaves_in_a_report(seed: int):
    from stair.doctor.finding import Finding

    visits = [poisoned(seed), Visit(LOGIN, "login", missing={"host": SENTENCES[0]})]
    findings = [
        Finding("vulkan.instance", "error", sentence, sentence, sentence, sentence, f"image on {HOST}")
        for sentence in SENTENCES
    ]
    shown = as_report(fold(findings, {}), visits, 1, 10)
    assert not found(shown)
    assert "vulkan.instance" in shown
    assert "570.124.06" in shown


def test_a_redacted_capture_can_be_read_and_judged():
    tree = redact([to_json(poisoned(1))])[0]
    again = from_json(tree)
    assert again.name == "node-1"
    assert again.host is not None
    assert again.host["driver"].keys() == sheets.base("gpu-host")["driver"].keys()


def test_a_name_is_replaced_by_the_same_name_everywhere():
    redactor = make_redactor([{"host": "gpu01"}, {"host": "gpu011"}], users=["ada"])
    said = redactor.text("gpu011 and gpu01, gpu01.zoo.edu; ada in /home/ada/x, not adamant")
    assert said == "node-2 and node-1, node-1; user-1 in ~/x, not adamant"


@pytest.mark.parametrize("name", ["cpu-host", "eval-image", "gpu-host", "gpu-image"])
def test_what_tells_a_reader_something_stays(name: str):
    sheet = sheets.base(name)
    kept = redact(sheet)
    for section in ("nvml", "driver", "limits", "shm", "egl"):
        ids = {"gpus", "devices"}
        before, after = (
            {key: each for key, each in (whole.get(section) or {}).items() if key not in ids}
            for whole in (sheet, kept)
        )
        assert after == before
    assert [icd["path"] for icd in kept["vulkan"]["icds"]] == [icd["path"] for icd in sheet["vulkan"]["icds"]]
    assert [each["name"] for each in kept["libraries"]] == [each["name"] for each in sheet["libraries"]]
    assert kept["system"]["kernel"] == sheet["system"]["kernel"]
    for text in (
        "VK_KHR_get_physical_device_properties2 and libnvidia-glvkspirv.so.570.124.06",
        "0000:17:00.0 at 12:34:56 under 5.14.0-427.13.1.el9_4.x86_64",
        "/usr/lib/x86_64-linux-gnu/libvulkan_lvp.so said vk::createInstanceUnique: ErrorIncompatibleDriver",
        "NVIDIA H100 80GB HBM3, 26.1.6-1~bpo13+1, 127.0.0.1, ::1, docs.nvidia.com",
    ):
        assert redact(text) == text


def test_what_code_and_image_it_was_stays():
    labels = {"stair.lock_sha256": "e06568ca5810ecc875554399885b7b408900808d97047c87af1bf97c5060909e"}
    assert redact({"labels": labels})["labels"] == labels
    assert redact({"said": labels["stair.lock_sha256"]})["said"] == "<random>"
