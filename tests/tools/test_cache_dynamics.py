"""tools/cache-dynamics: what it writes trains like the clips themselves, and it survives being killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stair import settings
from stair.collect.config import CollectConfig
from stair.collect.dataset import collect
from stair.errors import StairError, UsageError
from stair.train.config import TrainConfig
from tests.models.small_univam import write_univam
from tests.train.small import column, settings_of, train_here, wait_until
from tools.caching import cli
from tools.caching.work import Share

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "cache-dynamics"


HELD = """
import runpy, sys, time
from tools.caching import work
real = work.write_shard
def write_shard(folder, shard, values):
    if shard > 20:
        time.sleep(1000)
    real(folder, shard, values)
work.write_shard = write_shard
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""The tool does not come to its end, however late it is killed."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four demonstrations, of about a hundred steps in all."""
    root = tmp_path_factory.mktemp("data")
    collect(CollectConfig(root=str(root), episodes=4, image_size=32, workers=0))
    return root


def recipe_of(config: TrainConfig, file: Path) -> str:
    """The settings as a recipe file."""
    tree = {"kind": "train", "about": "for a test", "train": settings.dump(config)}
    file.write_text(yaml.safe_dump(tree))
    return str(file)


@pytest.fixture
def recipe(data: Path, tmp_path: Path) -> str:
    return recipe_of(settings_of(tmp_path / "plain", data, steps=3), tmp_path / "recipe.yaml")


def make_cache(recipe: str, folder: Path, *words: str) -> dict:
    """Runs the tool here; returns what it said as JSON."""
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main([recipe, str(folder), "--json", *words]) == 0
    return json.loads(said.getvalue())


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "tabletop-train").iterdir())}


def losses(run: Path) -> dict[str, list[float]]:
    names = ("loss", "loss_action", "grad_norm", "held_out/loss_dynamic", "held_out/loss_shuffled")
    values = {}
    for name in names:
        values[name] = [
            line[name] for line in map(json.loads, (run / "metrics.jsonl").open()) if name in line
        ]
    return values


@pytest.mark.parametrize("encoder", ["mock", "univam"])
def test_losses_of_stage_one_with_a_cache_are_those_without(data, tmp_path, encoder):
    flags: dict = {"steps": 2, "data__held_out": 0.2, "tracking__validate_batches": 2}
    if encoder == "univam":
        made = write_univam(tmp_path / "weights")
        flags |= {
            f"model__dynamic__{n}": getattr(made, n) for n in ("kind", "width", "checkpoint", "wan_vae")
        }
    plain = settings_of(tmp_path / "plain", data, **flags)
    recipe = recipe_of(plain, tmp_path / "recipe.yaml")
    assert train_here(plain) == 0
    expected = losses(tmp_path / "plain")
    assert expected["held_out/loss_dynamic"]
    for dtype, near in (("float32", 1e-6), ("float16", 2e-3))[: 1 if encoder == "univam" else 2]:
        folder = tmp_path / dtype
        told = make_cache(recipe, folder, "--dtype", dtype, "--rows", "40")
        assert told["clips"] == told["sets"][0]["rows"]
        cached = settings_of(tmp_path / f"cached-{dtype}", data, **flags, data__dynamic_tokens=str(folder))
        assert train_here(cached) == 0
        found = losses(tmp_path / f"cached-{dtype}")
        for name, values in expected.items():
            assert found[name] == pytest.approx(values, rel=near), (dtype, name)


def test_stage_two_aligns_to_cached_tokens(data, tmp_path, recipe):
    make_cache(recipe, tmp_path / "cache", "--dtype", "float32")
    flags: dict = {"stage": "stage2", "direct": True, "steps": 2}
    assert train_here(settings_of(tmp_path / "clips", data, **flags)) == 0
    flags["data__dynamic_tokens"] = str(tmp_path / "cache")
    assert train_here(settings_of(tmp_path / "tokens", data, **flags)) == 0
    for name in ("loss_align", "loss"):
        expected = pytest.approx(column(tmp_path / "clips", name), rel=2e-6)
        assert column(tmp_path / "tokens", name) == expected


def test_training_refuses_tokens_of_another_encoder(data, tmp_path, recipe):
    make_cache(recipe, tmp_path / "cache")
    other = {"model__dynamic__seed": 1, "data__dynamic_tokens": str(tmp_path / "cache")}
    with pytest.raises(UsageError, match=r"made by another encoder: its seed is 2026, model\.dynamic has 1"):
        train_here(settings_of(tmp_path / "run", data, **other))


def test_a_dry_run_tells_the_work_and_writes_nothing(recipe, tmp_path):
    told = make_cache(recipe, tmp_path / "cache", "--dry", "--rows", "40")
    made = told["sets"][0]
    assert told["clips_per_s"] is None
    assert (made["dataset"], made["found"], made["dtype"]) == ("tabletop", 0, "float16")
    assert made["missing"] == made["files"] == -(-made["rows"] // 40)
    assert made["bytes"] == made["rows"] * 2 * 24 * 2
    assert not (tmp_path / "cache").exists()


def test_jobs_share_the_work_and_the_whole_is_the_same(recipe, tmp_path):
    make_cache(recipe, tmp_path / "one", "--rows", "16")
    first = make_cache(recipe, tmp_path / "two", "--rows", "16", "--shard", "0/2")
    second = make_cache(recipe, tmp_path / "two", "--shard", "1/2")  # the shard size is the begun cache's
    assert 0 < first["clips"] < second["sets"][0]["rows"]
    assert first["clips"] + second["clips"] == second["sets"][0]["rows"]
    assert content(tmp_path / "one") == content(tmp_path / "two")
    again = make_cache(recipe, tmp_path / "two")
    assert again["clips"] == 0
    assert again["sets"][0]["found"] == again["sets"][0]["files"]


def test_a_killed_job_goes_on_with_the_shard_it_was_at(recipe, tmp_path):
    small = ("--rows", "1", "--batch", "1")
    make_cache(recipe, tmp_path / "whole", *small)
    folder = tmp_path / "killed" / "tabletop-train"
    command = [sys.executable, "-c", HELD, str(SCRIPT), recipe, str(tmp_path / "killed"), *small]
    process = subprocess.Popen(
        command, cwd=SCRIPT.parents[1], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: len(list(folder.glob("tokens-*.bin"))) >= 3 or process.poll() is not None)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    finished = {path.name: path.stat().st_mtime_ns for path in folder.glob("tokens-*.bin")}
    abandoned = folder / f".{sorted(content(tmp_path / 'whole'))[-1]}.999.tmp"
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (1, 1))
    told = make_cache(recipe, tmp_path / "killed", "--batch", "1")
    assert told["sets"][0]["found"] == len(finished) < told["sets"][0]["files"]
    for name, time_ns in finished.items():
        assert (folder / name).stat().st_mtime_ns == time_ns
    whole, killed = content(tmp_path / "whole"), content(tmp_path / "killed")
    assert abandoned.name not in killed
    assert {name: killed[name] for name in whole} == whole


def test_a_cache_that_was_begun_for_something_else_is_left_alone(recipe, tmp_path):
    make_cache(recipe, tmp_path / "cache")
    before = content(tmp_path / "cache")
    for words, said in (
        (["--train.inputs.clip.stride", "1"], r"clip settings: offsets is \[-8"),
        (["--train.model.dynamic.seed", "1"], "encoder: seed is 2026, and 1 is asked for"),
        (["--dtype", "float32"], "dtype is float16, and float32 is asked for"),
    ):
        with pytest.raises(UsageError, match=f"was begun for something else: {said}"):
            make_cache(recipe, tmp_path / "cache", *words)
    assert content(tmp_path / "cache") == before


def test_a_full_disk_is_seen_before_the_first_clip(recipe, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StairError, match=r"the disk has 1\.0 kB free"):
        make_cache(recipe, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_wrong_words_are_refused(recipe, tmp_path):
    with pytest.raises(UsageError, match="--shard 2/2 is no share"):
        make_cache(recipe, tmp_path / "cache", "--shard", "2/2")
    with pytest.raises(UsageError, match="unknown setting"):
        make_cache(recipe, tmp_path / "cache", "--train.data.rooot", "x")
    with pytest.raises(UsageError, match="--rows 0"):
        make_cache(recipe, tmp_path / "cache", "--rows", "0")
    assert [shard for shard in range(7) if shard in Share.read("1/3")] == [1, 4]
