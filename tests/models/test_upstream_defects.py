"""The defects of the code that STAIR descends from, numbered as in the specification: we have none of them.

One short test each, against the real code. Those of UniVAM's encoder (15, 15b, 16) are in test_univam.py;
17 is the simulator's.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import stair
from stair.data.chunks import take_chunks
from stair.data.config import ActionConfig, DataConfig, InputConfig, LanguageConfig
from stair.data.corpus import Corpus
from stair.data.language import WordTokenizer, prompt_ids
from stair.data.order import Order
from stair.data.rlds_features import manipulation_features
from stair.data.rlds_writer import RldsWriter
from stair.data.standardize import binarize_gripper, unwrapped
from stair.data.statistics import compute_moments
from stair.data.transforms import normalize
from stair.errors import StairError
from stair.models.build import build_model
from stair.models.config import FlowConfig, HeadConfig
from stair.models.parts import flow
from stair.models.parts.dit import TimeEmbedder
from stair.models.saved import SavedConfig, load_model, part_tensors, save_model
from stair.models.stair import Stair
from stair.rundir import RunDir
from stair.serve.config import ServeConfig
from stair.serve.trained import load_policy
from stair.train.config import FreezeConfig
from stair.train.passes import pass_slices
from stair.train.resume import find_resume
from stair.train.stages import LAST_LLM_LAYER, STAGES, trainable_parts
from stair.train.trainer import train_mode
from stair.train.world import World
from tests.data.episodes import make_steps, write_tabletop
from tests.models.small import CONFIG, INPUTS, make_batch
from tests.train.small import settings_of

CPU = torch.device("cpu")


@pytest.fixture
def model() -> Stair:
    """Its head has something to say, as after some training."""
    torch.manual_seed(0)
    model = build_model(CONFIG, INPUTS)
    assert isinstance(model, Stair)
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def draws(model: Stair, size: int = 4):
    return model.draw(size, torch.Generator().manual_seed(0))


def test_01_queries_and_keys_of_per_attn_learn() -> None:
    torch.manual_seed(0)
    model = build_model(CONFIG, INPUTS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        model(make_batch(), draws(model), "dynamic")["loss"].backward()  # type: ignore[arg-type]
        optimizer.step()
    for block in model.action_model.net.blocks:  # type: ignore[union-attr]
        queries, keys, _ = block.per_attn.in_proj_weight.grad.chunk(3)
        assert queries.abs().max() > 0
        assert keys.abs().max() > 0


def test_02_oformer_and_projection_are_saved_and_a_model_without_them_is_refused(
    model: Stair, tmp_path: Path
) -> None:
    save_model(tmp_path / "model", SavedConfig("stage2", CONFIG, INPUTS, 1), part_tensors(model), {})
    file = tmp_path / "model/model.safetensors"
    tensors = load_file(file)
    assert {"oformer", "projection"} <= {key.split(".")[0] for key in tensors}
    save_file({key: value for key, value in tensors.items() if not key.startswith("oformer")}, file)
    with pytest.raises(StairError, match="oformer"):
        load_model(tmp_path / "model")


def test_03_the_oformer_reads_no_padding(model: Stair) -> None:
    batch = make_batch()
    _, states = model.read(batch.images, batch.token_ids, batch.token_mask)
    noisy = torch.where(batch.token_mask[..., None], states, 100 * torch.randn_like(states))
    torch.testing.assert_close(
        model.anticipate(states, batch.token_mask), model.anticipate(noisy, batch.token_mask)
    )


def test_04_repeated_diffusion_steps_are_as_many_as_configured() -> None:
    config = replace(CONFIG, head=replace(CONFIG.head, repeats=7))
    drawn = build_model(config, INPUTS).draw(3, torch.Generator())  # type: ignore[operator]
    assert drawn.noise.shape[:2] == drawn.time.shape == (7, 3)
    assert HeadConfig().repeats == 4


def test_05_ten_flow_steps_are_ten_evaluations(model: Stair) -> None:
    asked = []
    model.action_model.net.register_forward_hook(lambda *_: asked.append(1))
    batch = make_batch()
    model.predict(batch.images, batch.token_ids, batch.token_mask, torch.randn(4, 16, 7))
    assert (FlowConfig().steps, len(asked)) == (10, 10)


def test_06_the_chunk_is_as_long_as_configured() -> None:
    model = build_model(CONFIG, replace(INPUTS, action=ActionConfig(chunk=9)))
    assert model.action_model.net.positional_embedding.shape[0] == 10  # type: ignore[union-attr]
    assert model.draw(2, torch.Generator()).noise.shape[-2] == 9  # type: ignore[operator]


def test_07_a_policy_answers_under_every_option_it_offers(model: Stair, tmp_path: Path) -> None:
    from stair.policy.contract import Query
    from tests.serve.test_trained import statistics

    tables = {"tabletop": statistics(0.05)}
    save_model(tmp_path / "model", SavedConfig("stage2", CONFIG, INPUTS, 1), part_tensors(model), tables)
    query = Query(np.zeros((40, 30, 3), np.uint8), "go", "tabletop", 0)
    for options in ({"flow_steps": 3}, {"condition": "zero"}, {"samples": 3}, {"precision": "bf16"}):
        config = ServeConfig(model=str(tmp_path / "model"), device="cpu", **options)  # type: ignore[arg-type]
        assert load_policy(config).act_batch([query]).shape == (1, 16, 7)


def test_08_the_last_llm_layer_alone_can_be_trained() -> None:
    learning = trainable_parts(STAGES["stage1"], FreezeConfig(True, True, last_llm_layer=False))
    assert learning == {LAST_LLM_LAYER, "projection", "action_model", "auxiliary"}


def test_09_what_lies_beyond_an_episode_is_not_trained(model: Stair) -> None:
    actions = np.zeros((5, 7), np.float32)
    _, mask = take_chunks(actions, np.array([3]), np.array([4]), 16, [True] * 6 + [False])
    assert mask.sum() == 2
    answers: list[torch.Tensor] = []
    model.action_model.net.register_forward_hook(lambda module, given, answer: answers.append(answer))
    batch = make_batch()
    loss = model(batch, draws(model), "dynamic")["action"]
    slopes = torch.autograd.grad(loss, answers[0])[0].view(-1, *batch.actions.shape)
    assert (slopes[:, ~batch.action_mask] == 0).all()
    assert (slopes[:, batch.action_mask] != 0).all()


def test_10_a_stage_one_model_acts_without_a_clip(model: Stair) -> None:
    batch = make_batch()
    words = (batch.images, batch.token_ids, batch.token_mask)
    assert model.predict(*words, torch.randn(4, 16, 7), condition="zero").isfinite().all()
    assert model.action_model.net.per_token_embedder.uncondition.requires_grad


def test_10b_a_frozen_teacher_is_never_in_training_mode(model: Stair) -> None:
    clips = make_batch().clips
    assert clips is not None
    train_mode(model)
    assert model.training
    assert model.dynamic_encoder is not None
    assert not any(module.training for module in model.dynamic_encoder.modules())
    assert torch.equal(model.observe(clips), model.observe(clips))


def test_11_the_oformer_has_no_weights_that_never_learn(model: Stair) -> None:
    model(make_batch(), draws(model), "oformer")["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.oformer.parameters())


def test_12_prompts_of_training_end_as_those_of_inference() -> None:
    tokenizer = WordTokenizer(1024)
    ids = prompt_ids("Go", LanguageConfig(), tokenizer)
    assert ids[-2:].tolist() == [tokenizer.blank_id, tokenizer.eos_id]
    assert ids[0] == tokenizer.bos_id


def test_13_any_number_of_processes_makes_the_same_global_batch(tmp_path: Path) -> None:
    config = settings_of(tmp_path, tmp_path, data__batch_size=12)
    for size in (1, 2, 3, 4):
        rows = [pass_slices(config, World(CPU, rank=rank, size=size))[0][1] for rank in range(size)]
        assert [(r.start, r.stop) for r in rows] == [
            (12 // size * rank, 12 // size * (rank + 1)) for rank in range(size)
        ]


def test_14_a_new_run_begins_anew_and_asks_for_no_checkpoint(tmp_path: Path) -> None:
    assert find_resume(RunDir(tmp_path / "new").create()) is None


def test_19_statistics_know_nothing_of_held_out_episodes(tmp_path: Path) -> None:
    write_tabletop(tmp_path)
    inputs = InputConfig(language=LanguageConfig(vocabulary=64))
    data = DataConfig(root=str(tmp_path), mixture="tabletop", held_out=0.4)
    corpus = Corpus.open(data, inputs)
    part = corpus.parts[0]
    seen = np.concatenate(
        [np.arange(part.index.starts[e], part.index.starts[e + 1]) for e in part.chosen.tolist()]
    )
    mask = (True,) * 6 + (False,)
    assert len(seen) < len(part.index.actions)
    assert corpus.statistics["tabletop"].action == compute_moments(part.index.actions[seen], mask)
    assert corpus.statistics["tabletop"].action != compute_moments(part.index.actions, mask)


def test_20_an_undecided_gripper_at_the_end_can_be_decided(tmp_path: Path) -> None:
    raw = np.array([1.0, 0.5, 0.0, 0.6, 0.7], np.float32)
    assert binarize_gripper(raw).tolist() == pytest.approx([1, 0, 0, 0.7, 0.7])  # as published
    steps = make_steps(6, 0)
    steps[-1]["action"][6] = 0.7
    folder = tmp_path / "tabletop/1.0.0"
    with RldsWriter(
        folder, name="tabletop", features=manipulation_features(24, 24), split_shards={"train": 1}
    ) as writer:
        writer.add("train", steps, {"episode_id": 0, "file_path": ""})
    for rounded, last in ((False, 0.7), (True, 1.0)):
        data = DataConfig(root=str(tmp_path), mixture="tabletop", round_gripper=rounded)
        assert Corpus.open(data, INPUTS).parts[0].actions[-1, 6] == pytest.approx(last)


def test_20b_rotations_can_be_unwrapped() -> None:
    actions = np.zeros((2, 7), np.float32)
    actions[:, 5] = [2 * np.pi - 0.1, 0.2]
    assert unwrapped(actions)[:, 5] == pytest.approx([-0.1, 0.2], abs=1e-5)


def test_21_the_order_of_samples_is_a_function_of_seed_and_position() -> None:
    places = np.arange(40, 60)
    whole, again, other = (Order([30, 50], [1.0, 1.0], seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(whole.locate(places), again.locate(places), strict=True))
    assert any(
        not np.array_equal(a, b) for a, b in zip(whole.locate(places), other.locate(places), strict=True)
    )


def test_22_no_pickle_is_loaded_that_could_run_code() -> None:
    """Every torch.load says weights_only=True."""
    loads = [
        (path, node)
        for path in Path(stair.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads")
    ]
    for path, node in loads:
        words = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert words.get("weights_only") == "True", f"{path}:{node.lineno}"


@pytest.mark.parametrize(("bias", "mean"), [("data", 0.6), ("noise", 0.4)])
def test_23_times_lean_to_the_end_that_is_named(bias: str, mean: float) -> None:
    config = FlowConfig(bias=bias)  # type: ignore[arg-type]
    times = flow.draw_times(config, (100_000,), torch.Generator().manual_seed(0))
    assert times.mean().item() == pytest.approx(mean, abs=0.01)
    actions, noise = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    assert flow.noisy_and_target(actions, noise, torch.tensor([0.9]))[0].item() == pytest.approx(0.9)


def test_24_time_can_be_stretched_over_the_sinusoids_range() -> None:
    assert HeadConfig().time_scale == 1.0  # as released checkpoints have it
    spans = {}
    for scale in (1.0, 1000.0):
        embedder = TimeEmbedder(8, scale)
        embedder.mlp = torch.nn.Identity()  # type: ignore[assignment]
        waves = embedder(torch.linspace(0, 1, 200), torch.float32)
        spans[scale] = ((waves.max(0).values - waves.min(0).values) > 0.5).float().mean().item()
    assert spans[1.0] < 0.25 < 0.5 < spans[1000.0]


def test_18_quantiles_clamp_to_one() -> None:
    """StarVLA clamps its q99 normalisation at 2.2."""
    values = np.linspace(-1, 1, 1001, dtype=np.float32)[:, None].repeat(7, 1)
    moments = compute_moments(values, (True,) * 6 + (False,))
    assert np.abs(normalize(3 * values, moments)[:, :6]).max() == 1.0
