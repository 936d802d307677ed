"""A saved model behind the server: the same answer alone, in a batch, and by the parts of training."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from stair.data.language import load_tokenizer, prompt_ids
from stair.data.statistics import Statistics
from stair.data.transforms import prepare_image, unnormalize
from stair.errors import StairError
from stair.models.build import build_model
from stair.models.saved import SavedConfig, load_model, part_tensors, save_model
from stair.policy.contract import PolicySpec, Query
from stair.policy.remote import RemotePolicy
from stair.policy.wire import pack, unpack
from stair.serve.config import ServeConfig
from stair.serve.trained import ENSEMBLE_HORIZON, clip_as_cogact, load_policy
from tests.fakes.serving import LONG_S, serving
from tests.models.small import CONFIG, INPUTS


def statistics(scale):
    bounds = {
        "mean": [0.0] * 7,
        "std": [1.0] * 7,
        "max": [scale] * 6 + [1.0],
        "min": [-scale] * 6 + [0.0],
        "q01": [-scale] * 6 + [0.0],
        "q99": [scale] * 6 + [1.0],
        "mask": [True] * 6 + [False],
    }
    return {"action": bounds, "proprio": bounds, "num_transitions": 10, "num_trajectories": 1}


STATISTICS = {"tabletop": statistics(0.05), "fractal20220817_data": statistics(0.5)}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Model folders by stage; the head's output is not zero, as it would be untrained."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    model = build_model(CONFIG, INPUTS)
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    for stage in ("stage1", "stage2"):
        config = SavedConfig(stage, CONFIG, INPUTS, 7)
        save_model(root / stage, config, part_tensors(model), STATISTICS)
    return root


@pytest.fixture(scope="module")
def policy(models):
    return load_policy(ServeConfig(model=str(models / "stage2"), device="cpu", threads=1))


def queries():
    rng = np.random.default_rng(0)
    words = ["put the red block on the plate", "go", "put it there", "go"]
    sizes = [(32, 32), (48, 40), (32, 32), (64, 64)]
    keys = ["tabletop", "tabletop", "fractal20220817_data", "tabletop"]
    return [
        Query(rng.integers(0, 256, (*size, 3), dtype=np.uint8), word, key, seed)
        for seed, (size, word, key) in enumerate(zip(sizes, words, keys, strict=True))
    ]


def test_an_answer_does_not_depend_on_its_batch(policy):
    together = policy.act_batch(queries())
    alone = np.concatenate([policy.act_batch([query]) for query in queries()])
    assert together.dtype == np.float32
    assert together.shape == (4, 16, 7)
    # Sums of another order: equal to rounding, where another noise would differ in the first digit.
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_equal_queries_get_bit_equal_answers_and_another_seed_another_one(policy):
    query = queries()[0]
    assert np.array_equal(policy.act_batch([query]), policy.act_batch([query]))
    assert not np.array_equal(policy.act_batch([query]), policy.act_batch([replace(query, seed=99)]))


def test_serving_uses_the_parts_of_training(policy, models):
    query = queries()[1]
    model, saved = load_model(models / "stage2")
    ids = prompt_ids(query.instruction, INPUTS.language, load_tokenizer(INPUTS.language))
    noise = torch.randn(16, 7, generator=torch.Generator().manual_seed(query.seed))
    chunk = model.predict(  # type: ignore[operator]
        torch.from_numpy(prepare_image(query.image, INPUTS.image))[None],
        torch.from_numpy(ids)[None],
        torch.ones(1, len(ids), dtype=torch.bool),
        noise[None],
    )
    expected = unnormalize(chunk[0].numpy(), Statistics.from_json(saved.statistics["tabletop"]).action)
    assert np.allclose(policy.act_batch([query])[0], expected, atol=1e-6)


def test_actions_are_physical_in_the_units_of_the_asked_data_set(policy):
    query = queries()[0]
    small = policy.act_batch([query])[0]
    large = policy.act_batch([replace(query, unnorm_key="fractal20220817_data")])[0]
    assert np.allclose(large[:, :6], 10 * small[:, :6], rtol=1e-4, atol=1e-6)
    assert np.allclose(large[:, 6], small[:, 6])


def test_the_handshake_tells_statistics_and_control_rates(policy, models):
    assert policy.spec.name == str(models / "stage2")
    assert policy.spec.unnorm_keys == ("tabletop", "fractal20220817_data")
    assert policy.spec.conventions["tabletop"].control_hz == 5
    assert policy.spec.conventions["fractal20220817_data"].control_hz == 3
    assert not policy.spec.needs_clip
    assert (policy.spec.chunk, policy.spec.image_size) == (16, 32)
    assert policy.spec.ensemble_horizons == {"tabletop": 2, "fractal20220817_data": 2}
    low, high = policy.spec.action_ranges["fractal20220817_data"]
    assert (low, high) == ((-0.5,) * 6 + (0.0,), (0.5,) * 6 + (1.0,))
    assert PolicySpec.from_message(unpack(pack(policy.spec.to_message()))) == policy.spec


def test_bridges_policies_are_meant_for_seven_chunks():
    assert ENSEMBLE_HORIZON["bridge_orig"] == 7


def test_predictions_are_clipped_as_cogact_does_only_when_asked(models, policy):
    wild = np.array([[-3.0, 0.2, 1.5, 0, 0, 0, 0.49], [0, 0, 0, 0, 0, -1.2, 0.5]], np.float32)
    assert np.allclose(clip_as_cogact(wild), [[-1, 0.2, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, -1, 1]])
    assert wild[0, 0] == -3
    clipped = load_policy(ServeConfig(model=str(models / "stage2"), device="cpu", clip=True))
    plain, cut = policy.act_batch(queries()), clipped.act_batch(queries())
    assert np.abs(plain[0, :, :6]).max() > 0.05
    assert np.abs(cut[0, :, :6]).max() <= 0.05 + 1e-6
    assert np.allclose(cut[0, :, :6], np.clip(plain[0, :, :6], -0.05, 0.05), atol=1e-5)
    assert set(cut[..., 6].flat) <= {0.0, 1.0}


def test_a_trained_policy_is_served_over_a_socket(policy):
    with serving(policy) as address:
        remote = RemotePolicy(address, timeout_s=LONG_S)
        assert np.array_equal(remote.act(queries()[0]), policy.act_batch(queries()[:1])[0])
        remote.close()


def test_the_dynamic_encoder_is_not_even_constructed(policy):
    assert policy.model.dynamic_encoder is None
    assert policy.model.projection is None


def test_a_stage_1_model_is_served_only_when_allowed_and_then_without_dynamic_tokens(models, policy):
    with pytest.raises(StairError, match="stage-1 model") as caught:
        load_policy(ServeConfig(model=str(models / "stage1"), device="cpu"))
    assert "--allow_stage1 true" in caught.value.hint
    allowed = load_policy(ServeConfig(model=str(models / "stage1"), device="cpu", allow_stage1=True))
    assert allowed.act_batch(queries()).shape == (4, 16, 7)
    assert not np.allclose(allowed.act_batch(queries()), policy.act_batch(queries()))


def test_bf16_stays_close_to_fp32(models, policy):
    rough = load_policy(ServeConfig(model=str(models / "stage2"), device="cpu", precision="bf16"))
    difference = np.abs(rough.act_batch(queries()) - policy.act_batch(queries()))[..., :6].max()
    assert 0 < difference < 0.05


def test_a_model_without_statistics_is_refused(models, tmp_path):
    import shutil

    shutil.copytree(models / "stage2", tmp_path / "model")
    (tmp_path / "model" / "statistics.json").write_text(json.dumps({}))
    with pytest.raises(StairError, match="no statistics"):
        load_policy(ServeConfig(model=str(tmp_path / "model"), device="cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_is_refused_where_there_is_none(models):
    with pytest.raises(StairError, match="no CUDA"):
        load_policy(ServeConfig(model=str(models / "stage2"), device="cuda"))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "which model?"),
        (["--modell", "x"], 2, "did you mean 'model'?"),
        (["--model", "/nowhere"], 1, "no model at /nowhere"),
        (["--model", "/nowhere", "--mode", "robot"], 2, "how shall the robot's actions be chosen?"),
        (["--model", "/x", "--mode", "robot", "--execute", "4", "--ensemble", "7"], 2, "exclude each other"),
    ],
)
def test_the_command_refuses_in_two_lines(words, code, told):
    done = subprocess.run(
        [sys.executable, "-m", "stair.serve", *words], capture_output=True, text=True, timeout=LONG_S
    )
    assert done.returncode == code
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2


def test_of_several_samples_the_most_typical_is_the_answer(models, policy):
    many = load_policy(ServeConfig(model=str(models / "stage2"), device="cpu", samples=5))
    drawn = []
    predict, many.model.predict = (
        many.model.predict,
        lambda *a, **k: drawn.append(predict(*a, **k)) or drawn[0],
    )
    answers = many.act_batch(queries())
    chunks = drawn[0]
    assert chunks.shape == (5, 4, 16, 7)
    far = (chunks - chunks.mean(0)).square().sum((-2, -1))
    chosen = chunks[far.argmin(0), torch.arange(4)]
    expected = unnormalize(chosen[1].numpy(), Statistics.from_json(STATISTICS["tabletop"]).action)
    assert np.allclose(answers[1], expected, atol=1e-6)
    assert not np.allclose(answers, policy.act_batch(queries()))


def test_a_stage_2_model_can_be_served_without_dynamic_tokens_and_a_stage_1_model_only_so(models, policy):
    blind = load_policy(ServeConfig(model=str(models / "stage2"), device="cpu", condition="zero"))
    assert not np.allclose(blind.act_batch(queries()), policy.act_batch(queries()))
    with pytest.raises(StairError, match="oformer is untrained"):
        load_policy(
            ServeConfig(model=str(models / "stage1"), device="cpu", allow_stage1=True, condition="oformer")
        )
