"""Weights from a Hub that breaks off, lies, wants a token or is not there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from stair.console import run_command
from tests.fakes.hub import REVISION, a_hub
from tests.processes import wait_for
from tools.fetching import transfer
from tools.fetching.artefacts import ARTEFACTS, GROUPS, choose
from tools.fetching.cli import main

PT = "checkpoints/step-295000-epoch-40-loss=0.2200.pt"
PRISMATIC = "openvla/openvla-7b-prismatic"
WEIGHTS = random.Random(0).randbytes(300_000)
FILES = {
    PRISMATIC: {
        ".gitattributes": b"*.pt filter=lfs",
        "README.md": b"# OpenVLA",
        "config.json": b'{"vla": {"base_vlm": "prism-dinosiglip-224px+7b"}}',
        "dataset_statistics.json": b"{}",
        PT: WEIGHTS,
    },
    "NousResearch/Llama-2-7b-hf": {
        **{
            name: name.encode()
            for name in ("config.json", "tokenizer.json", "tokenizer.model", "LICENSE.txt")
        },
        "model-00001-of-00002.safetensors": b"not wanted",
    },
    "STA-I-R/video_stamo": {
        "bridgev2/137k/Wan22VM.pth": b"vm",
        "bridgev2/137k/Projector.pth": b"projector",
        "bridgev2/137k/LoraAdapter.pth": b"not wanted",
        "bridgev2/config.yaml": b"seed: 33",
        "fractal/76000/Wan22VM.pth": b"other",
    },
}


@pytest.fixture
def hub(monkeypatch):
    with a_hub(FILES) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")  # whoever is logged in
        monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
        monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
        yield hub


def fetch(into: Path, *words: str) -> int:
    return run_command(lambda: main([*words, "--into", str(into)]))


def files_in(folder: Path) -> dict[str, bytes]:
    """Everything laid out, without the record."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".fetched.json"
    }


def test_an_artefact_is_laid_out_as_the_recipes_name_it(hub, tmp_path):
    assert fetch(tmp_path, "openvla-7b-prismatic", "llama2-tokenizer", "univam-bridgev2") == 0
    found = files_in(tmp_path)
    assert found[f"openvla-7b-prismatic/{PT}"] == WEIGHTS
    assert set(found) == {
        f"openvla-7b-prismatic/{PT}",
        "openvla-7b-prismatic/config.json",
        "openvla-7b-prismatic/dataset_statistics.json",
        "llama2_config/config.json",
        "llama2_config/tokenizer.json",
        "llama2_config/tokenizer.model",
        "univam/bridgev2/Wan22VM.pth",
        "univam/bridgev2/Projector.pth",
        "univam/bridgev2/config.yaml",
    }


def test_what_is_there_is_not_fetched_again(hub, tmp_path, capsys):
    assert fetch(tmp_path, "openvla-7b-prismatic") == 0
    hub.asked.clear()
    assert fetch(tmp_path, "openvla-7b-prismatic") == 0
    assert [asked[1] for asked in hub.asked] == [f"api/models/{PRISMATIC}"]
    assert "0 fetched, 3 were there" in capsys.readouterr().err
    record = json.loads((tmp_path / "openvla-7b-prismatic/.fetched.json").read_text())
    assert record["revision"] == REVISION


def test_a_file_that_was_there_before_is_taken_when_its_hash_is_right(hub, tmp_path):
    place = tmp_path / "openvla-7b-prismatic" / PT
    place.parent.mkdir(parents=True)
    place.write_bytes(WEIGHTS)
    (tmp_path / "openvla-7b-prismatic/config.json").write_bytes(b"x" * len(FILES[PRISMATIC]["config.json"]))
    assert fetch(tmp_path, "openvla-7b-prismatic") == 0
    assert not hub.ranges(PT)
    assert (tmp_path / "openvla-7b-prismatic/config.json").read_bytes() == FILES[PRISMATIC]["config.json"]


def test_verify_notices_a_file_that_rotted(hub, tmp_path):
    assert fetch(tmp_path, "openvla-7b-prismatic") == 0
    place = tmp_path / "openvla-7b-prismatic" / PT
    status = place.stat()
    place.write_bytes(bytes(len(WEIGHTS)))
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fetch(tmp_path, "openvla-7b-prismatic", "--verify") == 0
    assert place.read_bytes() == WEIGHTS


def test_an_answer_that_breaks_off_is_gone_on_with(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.cut[PT] = [100_000]
    assert fetch(tmp_path, "openvla-7b-prismatic") == 0
    assert (tmp_path / "openvla-7b-prismatic" / PT).read_bytes() == WEIGHTS
    assert hub.ranges(PT) == ["", "bytes=100000-"]


def test_a_killed_fetch_is_gone_on_with_by_the_next(hub, tmp_path):
    hub.stall[PT] = 200_000
    # Else it gives up the stalled connection after 10 s, and on the next one it gets the rest.
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HUB_DOWNLOAD_TIMEOUT": "1000"}
    code = (
        "import sys; from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = 50_000\n"
        "from tools.fetching.cli import main; main(sys.argv[1:])"
    )
    words = ["openvla-7b-prismatic", "--into", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        assert hub.stalled.wait(240)
        [part] = (tmp_path / "openvla-7b-prismatic/checkpoints").glob(".*.part")
        wait_for(lambda: part.stat().st_size >= 150_000, 240)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    have = part.stat().st_size
    assert not (tmp_path / "openvla-7b-prismatic" / PT).exists()
    hub.asked.clear()
    assert fetch(tmp_path, "openvla-7b-prismatic") == 0
    assert hub.ranges(PT) == [f"bytes={have}-"]
    assert (tmp_path / "openvla-7b-prismatic" / PT).read_bytes() == WEIGHTS
    assert not part.exists()


def test_one_wrong_answer_is_fetched_again_and_two_are_refused(hub, tmp_path, capsys):
    wrong = bytes(len(WEIGHTS))
    hub.altered[PT] = [wrong]
    assert fetch(tmp_path / "one", "openvla-7b-prismatic") == 0
    hub.altered[PT] = [wrong, wrong]
    assert fetch(tmp_path / "two", "openvla-7b-prismatic") == 1
    told = capsys.readouterr().err
    assert f"{PT} arrived with another hash than {hub.address} states" in told
    assert not list((tmp_path / "two/openvla-7b-prismatic/checkpoints").iterdir())


def test_a_small_files_wrong_content_is_noticed_too(hub, tmp_path, capsys):
    hub.altered["config.json"] = [b"x" * len(FILES[PRISMATIC]["config.json"])] * 2
    assert fetch(tmp_path, "openvla-7b-prismatic") == 1
    assert "config.json arrived with another hash" in capsys.readouterr().err


def test_a_gated_repository_says_which_licence_to_accept_and_how(hub, tmp_path, capsys):
    hub.gated.add(PRISMATIC)
    assert fetch(tmp_path, "openvla-7b-prismatic") == 1
    lines = capsys.readouterr().err.strip().splitlines()[-2:]
    assert "is gated: its licence has to be accepted first" in lines[0]
    assert "Llama 2" in lines[0]
    assert f"accept it at {hub.address}/{PRISMATIC}" in lines[1]
    assert "HF_TOKEN" in lines[1]


def test_a_signed_address_that_ran_out_is_asked_for_again_not_called_a_gate(hub, tmp_path, capsys):
    hub.expired[PT] = 1
    assert fetch(tmp_path, "openvla-7b-prismatic") == 0
    hub.expired[PT] = 99
    assert fetch(tmp_path / "again", "openvla-7b-prismatic") == 3
    assert "gated" not in capsys.readouterr().err


def test_a_token_reaches_the_hub_and_not_the_store(hub, tmp_path, monkeypatch):
    hub.gated.add(PRISMATIC)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch(tmp_path, "openvla-7b-prismatic") == 0
    assert all(
        token == "Bearer hf_secret" for _, path, _, token in hub.asked if not path.startswith("store/")
    )
    stored = [token for _, path, _, token in hub.asked if path.startswith("store/")]
    assert stored
    assert not any(stored)


def test_dry_shows_what_from_where_how_large_and_which_licence(hub, tmp_path, capsys):
    hub.gated.add(PRISMATIC)
    assert fetch(tmp_path, "openvla-7b-prismatic", "--dry", "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["from"] == f"{hub.address}/{PRISMATIC}@{REVISION[:12]}"
    assert row["into"] == str(tmp_path / "openvla-7b-prismatic")
    wanted = ("config.json", "dataset_statistics.json", PT)
    assert row["bytes"] == row["to_fetch"] == sum(len(FILES[PRISMATIC][path]) for path in wanted)
    assert row["gated"] == "manual"
    assert fetch(tmp_path, "openvla-7b-prismatic", "--dry") == 0
    assert "GATED" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_without_network_the_way_around_is_told_in_two_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert fetch(tmp_path, "recipe") == 3
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert "cannot reach http://127.0.0.1:9 from" in lines[0]
    assert "tools/fetch-weights recipe --into pretrained && rsync -aP pretrained/" in lines[1]
    assert str(tmp_path) in lines[1]
    assert fetch(tmp_path, "recipe", "--dry", "--json") == 3
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(GROUPS["recipe"])
    assert all(row["licence"] for row in rows)


def test_a_repository_laid_out_otherwise_is_refused_by_what_it_lacks(hub, tmp_path, capsys):
    assert fetch(tmp_path, "univam-fractal") == 1
    assert r"holds no Projector\.pth" in capsys.readouterr().err


def test_a_repository_that_is_not_there_is_named(hub, tmp_path, capsys):
    assert fetch(tmp_path, "wan22-vae") == 1
    assert "Wan2.2-TI2V-5B-Diffusers is not there (404)" in capsys.readouterr().err


def test_a_full_disk_is_seen_before_the_first_byte(hub, tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")(10**6, 10**6 - 1000, 1000)
    monkeypatch.setattr("tools.disk.shutil.disk_usage", lambda path: usage)
    assert fetch(tmp_path, "openvla-7b-prismatic") == 1
    assert "the disk has 1.0 kB free" in capsys.readouterr().err
    assert not hub.ranges(PT)


def test_wrong_use_names_what_is_known(tmp_path, capsys):
    assert fetch(tmp_path) == 2
    assert fetch(tmp_path, "openvla-7b-prismatc") == 2
    assert "did you mean 'openvla-7b-prismatic'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "path", "place"),
    [
        ("openvla-7b", "model-00001-of-00003.safetensors", "model-00001-of-00003.safetensors"),
        ("openvla-7b", "model.safetensors.index.json", "model.safetensors.index.json"),
        ("openvla-7b", "modeling_prismatic.py", None),
        ("llama2-tokenizer", "pytorch_model.bin.index.json", None),
        ("llama2-tokenizer", "special_tokens_map.json", "special_tokens_map.json"),
        ("wan22-vae", "vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"),
        ("wan22-vae", "transformer/config.json", None),
        ("univam-libero", "libero/110k_2/Projector.pth", "Projector.pth"),
        ("univam-libero", "bridgev2/137k/Projector.pth", None),
        ("univam-libero", "config.yaml", "config.yaml"),
        ("openvla-7b-prismatic", PT, PT),
    ],
)
def test_every_file_has_its_place_or_none(name, path, place):
    assert ARTEFACTS[name].place(path) == place


def test_groups_mean_their_members_once():
    assert [a.name for a in choose(["univam", "univam-fractal"])] == list(GROUPS["univam"])
