"""Several processes compute what one computes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stair.models.build import build_model
from stair.models.saved import load_parts, part_tensors
from stair.rundir import RunDir
from stair.train import fsdp
from stair.train.config import EngineConfig, TrainConfig
from stair.train.ema import Ema
from stair.train.fsdp import make_mesh
from stair.train.optim import make_optimizer
from stair.train.resume import find_resume, restore
from stair.train.run import frozen_parts
from stair.train.stages import STAGES, freeze_parts, trainable_parts
from stair.train.stop import TRY_AGAIN
from stair.train.trainer import seed_all
from stair.train.world import World
from tests.train.small import column, end, launch, settings_of, start_nodes, train_here, wait_until

CPU = torch.device("cpu")
PATIENCE_S = 240
"""Twenty times what it takes: the machine may be busy."""


@pytest.mark.parametrize("how", ["full", "none"])
def test_two_processes_give_the_losses_of_one_and_one_goes_on_from_their_checkpoint(
    tmp_path: Path, data: Path, finished: Path, how: str
) -> None:
    run = tmp_path / "run"
    process = launch(settings_of(run, data, steps=10, engine__shard=how))
    try:
        output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        end([process])
    assert process.returncode == 0, output
    assert output.count("parameters train on") == 1

    assert train_here(settings_of(run, data, steps=12)) == 0
    assert column(run, "step") == list(range(1, 13))
    for name in ("loss", "loss_action", "loss_chunk", "grad_norm"):
        assert column(run, name) == pytest.approx(column(finished, name), abs=1e-4)


def test_two_nodes_with_hybrid_shards_give_the_same_and_leave_together_when_one_is_told_twice(
    tmp_path: Path, data: Path, finished: Path
) -> None:
    flags = {"engine__shard": "hybrid", "engine__activation_checkpointing": True, "engine__accumulate": 2}
    config = settings_of(tmp_path / "run", data, steps=100_000, checkpoint__every=15, **flags)
    processes = start_nodes(config)
    run = RunDir(tmp_path / "run")
    try:
        wait_until(
            lambda: run.saved_checkpoints() or any(process.poll() is not None for process in processes)
        )
        for process in processes:
            assert process.poll() is None, process.communicate()[0]
        processes[1].send_signal(signal.SIGUSR2)
        processes[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    finally:
        end(processes)
    assert [process.returncode for process in processes] == [TRY_AGAIN, TRY_AGAIN], outputs

    newest = run.latest_checkpoint()
    assert newest is not None
    assert column(run.path, "step") == list(range(1, newest.step + 1))
    assert '"status": "stopped"' in run.manifest.read_text()
    for name in ("loss", "grad_norm"):
        assert column(run.path, name)[:12] == pytest.approx(column(finished, name), abs=1e-4)


def test_sharded_bf16_leaves_frozen_parts_as_they_were_and_stays_near_the_unsharded(
    tmp_path: Path, data: Path
) -> None:
    flags = {"engine__precision": "bf16", "freeze__vision_backbone": True, "freeze__llm_backbone": True}
    config = settings_of(tmp_path / "run", data, steps=4, engine__shard="full", **flags)
    assert train_here(config) == 0
    assert train_here(settings_of(tmp_path / "whole", data, steps=4, **flags)) == 0
    assert column(tmp_path / "run", "loss") == pytest.approx(column(tmp_path / "whole", "loss"), rel=0.02)

    seed_all(config.seed, CPU)
    fresh = build_model(config.model, config.inputs)
    freeze_parts(fresh, trainable_parts(STAGES["stage1"], config.freeze))
    saved = load_file(tmp_path / "run/checkpoints/step-0000004/model/model.safetensors")
    frozen = frozen_parts(fresh)
    assert frozen == ["vision_backbone", "llm_backbone", "oformer"]
    before = part_tensors(fresh)
    for key in before:
        if key.split(".")[0] in frozen:
            assert torch.equal(saved[key], before[key]), key
    assert not torch.equal(saved["projection.weight"], before["projection.weight"])


@pytest.mark.parametrize(
    "flags",
    [
        {"engine__accumulate": 2},
        {"engine__activation_checkpointing": True},
        {"data__workers": 1},
    ],
    ids=lambda flags: next(iter(flags)),
)
def test_how_a_step_is_computed_does_not_change_it(
    tmp_path: Path, data: Path, finished: Path, flags: dict[str, object]
) -> None:
    assert train_here(settings_of(tmp_path / "run", data, steps=4, **flags)) == 0
    assert column(tmp_path / "run", "loss") == pytest.approx(column(finished, "loss")[:4], abs=1e-5)


def read_whole(config: TrainConfig) -> dict[str, torch.Tensor]:
    """What a lone process reads from a run's newest checkpoint, with the averages in their places."""
    resume = find_resume(RunDir(Path(config.run)))
    assert resume is not None
    model = build_model(config.model, config.inputs)
    freeze_parts(model, trainable_parts(STAGES[config.stage], config.freeze))
    load_parts(model, resume.checkpoint.model, frozen_parts(model))
    ema = Ema(model, config.ema)
    restore(resume, model, make_optimizer(model, config.optimizer), ema)
    return part_tensors(model) | ema.average


def test_four_processes_then_two_then_one_give_the_weights_and_losses_of_one(
    tmp_path: Path, data: Path
) -> None:
    run = tmp_path / "run"
    flags = {"freeze__vision_backbone": True, "ema__decay": 0.5}
    for processes, steps in ((4, 2), (2, 4)):
        process = launch(
            settings_of(run, data, steps=steps, engine__shard="full", **flags), processes=processes
        )
        try:
            output, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            end([process])
        assert process.returncode == 0, output
        file = run / f"checkpoints/step-{steps:07d}/model/model.safetensors"
        saved, read = load_file(file), read_whole(settings_of(run, data, **flags))
        assert saved.keys() == read.keys()
        assert all(torch.equal(saved[key], read[key]) for key in saved)
    assert train_here(settings_of(run, data, steps=6, **flags)) == 0
    assert train_here(settings_of(tmp_path / "one", data, steps=6, checkpoint__every=2, **flags)) == 0
    assert column(run, "step") == list(range(1, 7))
    for name in ("loss", "loss_action", "grad_norm"):
        assert column(run, name) == pytest.approx(column(tmp_path / "one", name), abs=1e-4)
    for step in (2, 4, 6):
        file = f"checkpoints/step-{step:07d}/model/model.safetensors"
        many, one = load_file(run / file), load_file(tmp_path / "one" / file)
        for key in one:
            torch.testing.assert_close(many[key], one[key], atol=2e-4, rtol=0, msg=key)


def test_frozen_parts_kept_in_bf16_are_half_as_large_and_the_rest_trains_as_before(
    tmp_path: Path, data: Path
) -> None:
    flags = {"engine__precision": "bf16", "freeze__vision_backbone": True, "freeze__llm_backbone": True}
    for how in ("none", "full"):
        run = tmp_path / how
        config = settings_of(run, data, steps=3, engine__shard=how, engine__frozen_dtype="bf16", **flags)
        assert train_here(config) == 0
        saved = load_file(run / "checkpoints/step-0000003/model/model.safetensors")
        low = {key.split(".")[0] for key, value in saved.items() if value.dtype == torch.bfloat16}
        assert low == {"vision_backbone", "llm_backbone", "oformer"}
        assert saved["action_model.net.positional_embedding"].dtype == torch.float32
    assert train_here(settings_of(tmp_path / "fp32", data, steps=3, **flags)) == 0
    for how in ("none", "full"):
        assert column(tmp_path / how, "loss") == pytest.approx(column(tmp_path / "fp32", "loss"), rel=0.02)
    config = settings_of(tmp_path / "none", data, steps=4, engine__frozen_dtype="bf16", **flags)
    assert train_here(config) == 0


@pytest.mark.parametrize("how", ["none", "full"])
def test_compiled_blocks_give_the_same_with_shards_and_checkpointing(
    tmp_path: Path, data: Path, finished: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsdp, "COMPILER", "aot_eager")  # all but the code generator, which takes minutes
    flags = {"engine__compile": True, "engine__activation_checkpointing": True, "engine__shard": how}
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert train_here(settings_of(tmp_path / "run", data, steps=3, **flags)) == 0
    assert column(tmp_path / "run", "loss") == pytest.approx(column(finished, "loss")[:3], abs=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 3  # towers, LLM, DiT


def test_bf16_stays_near_fp32(tmp_path: Path, data: Path, finished: Path) -> None:
    assert train_here(settings_of(tmp_path / "run", data, steps=4, engine__precision="bf16")) == 0
    losses = column(tmp_path / "run", "loss")
    assert losses == pytest.approx(column(finished, "loss")[:4], rel=0.02)
    assert losses != column(finished, "loss")[:4]


def test_hybrid_on_uneven_nodes_is_refused() -> None:
    from stair.errors import UsageError

    with pytest.raises(UsageError, match="same number of processes on every node"):
        make_mesh(World(CPU, size=6, local_size=4), EngineConfig(shard="hybrid"))
