"""The whole model: what depends on what."""

from dataclasses import replace

import pytest
import torch

from stair.data.config import ActionConfig
from stair.errors import StairError
from stair.models.build import build_model
from stair.models.parts import flow
from tests.models.small import CONFIG, INPUTS, make_batch


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = build_model(CONFIG, INPUTS)
    # Fresh heads answer zero; give them something to say.
    torch.nn.init.normal_(model.action_model.net.final_layer.linear.weight, std=0.2)
    for block in model.action_model.net.blocks:
        torch.nn.init.normal_(block.per_attn.out_proj.weight, std=0.2)
    return model


def draws(model, size=4, seed=0):
    return model.draw(size, torch.Generator().manual_seed(seed))


def test_losses_of_both_stages_train_what_the_stage_names(model):
    batch = make_batch()
    model(batch, draws(model), "dynamic")["loss"].backward()
    assert model.projection.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in model.oformer.parameters())
    model.zero_grad()
    losses = model(batch, draws(model), "oformer")
    losses["loss"].backward()
    assert model.projection.weight.grad is None
    assert all(p.grad.abs().max() > 0 for p in model.oformer.parameters() if p.ndim > 1)
    assert set(losses) == {"loss", "action", "align", "chunk", "waypoints", "words"}


def test_action_loss_alone_reaches_the_oformer(model):
    model(replace(make_batch(), clips=None), draws(model), "oformer")["action"].backward()
    assert model.oformer.queries.grad.abs().max() > 0


def test_conditions_feed_the_head_different_things(model):
    model.eval()
    batch = make_batch()
    found = {
        c: model(batch, draws(model), c)["action"].item() for c in ("dynamic", "shuffled", "zero", "oformer")
    }
    assert len(set(found.values())) == 4


def test_padding_changes_nothing(model):
    model.eval()
    batch = make_batch(length=6)
    longer = replace(
        batch,
        token_ids=torch.nn.functional.pad(batch.token_ids, (0, 5), value=3),
        token_mask=torch.nn.functional.pad(batch.token_mask, (0, 5)),
    )
    for condition in ("dynamic", "oformer"):
        short_loss = model(batch, draws(model), condition)["loss"]
        torch.testing.assert_close(short_loss, model(longer, draws(model), condition)["loss"])


def test_upstream_defect_3_the_oformer_reads_real_tokens_only(model):
    batch = make_batch()
    _, states = model.read(batch.images, batch.token_ids, batch.token_mask)
    noisy = torch.where(batch.token_mask[..., None], states, torch.randn_like(states) * 100)
    torch.testing.assert_close(
        model.anticipate(states, batch.token_mask), model.anticipate(noisy, batch.token_mask)
    )


def test_cognition_is_the_state_of_the_last_real_token(model):
    batch = make_batch()
    cognition, states = model.read(batch.images, batch.token_ids, batch.token_mask)
    for row, length in enumerate(batch.token_mask.sum(1)):
        assert torch.equal(cognition[row, 0], states[row, length - 1])


def test_image_and_words_both_reach_the_action(model):
    batch, noise = make_batch(), torch.randn(4, 16, 7)
    chunk = model.predict(batch.images, batch.token_ids, batch.token_mask, noise)
    assert chunk.shape == (4, 16, 7)
    other_image = model.predict(255 - batch.images, batch.token_ids, batch.token_mask, noise)
    other_words = model.predict(batch.images, (batch.token_ids + 7) % 64, batch.token_mask, noise)
    assert not torch.allclose(chunk, other_image)
    assert not torch.allclose(chunk, other_words)


def test_a_sample_is_predicted_alone_as_in_a_batch(model):
    model.eval()
    batch, noise = make_batch(), torch.randn(4, 16, 7)
    together = model.predict(batch.images, batch.token_ids, batch.token_mask, noise)
    alone = model.predict(batch.images[1:2], batch.token_ids[1:2], batch.token_mask[1:2], noise[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


def test_losses_of_equal_parts_average_to_the_loss_of_the_whole(model):
    model.eval()
    batch, drawn = make_batch(), draws(model)
    whole = model(batch, drawn, "dynamic")["loss"]
    fields = {name: value for name, value in vars(batch).items() if value is not None}
    halves = [slice(0, 2), slice(2, 4)]
    parts = [
        model(replace(batch, **{k: v[rows] for k, v in fields.items()}), drawn.part(rows), "dynamic")["loss"]
        for rows in halves
    ]
    torch.testing.assert_close(whole, sum(parts) / 2)


def test_a_deployed_model_has_no_dynamic_encoder_and_says_so():
    model = build_model(CONFIG, INPUTS, for_deployment=True)
    assert model.dynamic_encoder is None
    assert model.projection is None
    with pytest.raises(StairError, match="no dynamic encoder"):
        model(make_batch(), draws(model), "dynamic")


def test_null_tokens_are_mixed_in_only_while_training(model):
    batch, every, none = make_batch(), torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    drawn = replace(draws(model), drop_dynamic=every, drop_cognition=none)
    nothing = model.eval()(batch, drawn, "zero")["action"]
    torch.testing.assert_close(model.train()(batch, drawn, "dynamic")["action"], nothing)
    assert model.eval()(batch, drawn, "dynamic")["action"] != nothing


def seen(batch):
    return batch.images, batch.token_ids, batch.token_mask


def test_many_samples_of_an_observation_equal_single_ones_and_the_vlm_is_read_once(model):
    model.eval()
    batch, noise = make_batch(), torch.randn(3, 4, 16, 7)
    reads = []
    model.llm_backbone.register_forward_hook(lambda *_: reads.append(1))
    together = model.predict(*seen(batch), noise)
    assert (together.shape, len(reads)) == ((3, 4, 16, 7), 1)
    for n in range(3):
        torch.testing.assert_close(together[n], model.predict(*seen(batch), noise[n]), atol=1e-5, rtol=1e-4)


def test_two_fields_can_be_mixed(model):
    model.eval()
    batch, noise = make_batch(), torch.randn(4, 16, 7)
    fields = [model.velocity(*seen(batch), condition) for condition in ("oformer", "zero")]
    alone = [flow.integrate(field, noise, 10) for field in fields]
    mixed = flow.integrate(lambda x, t: 0.5 * fields[0](x, t) + 0.5 * fields[1](x, t), noise, 10)
    torch.testing.assert_close(alone[0], model.predict(*seen(batch), noise))
    distances = [(mixed - chunk).norm() for chunk in alone]
    assert all(0 < distance < (alone[0] - alone[1]).norm() for distance in distances)


def test_one_model_predicts_with_the_true_clip_the_oformer_and_neither(model):
    model.eval()
    batch, noise = make_batch(), torch.randn(4, 16, 7)
    oracle = model.predict(*seen(batch), noise, condition="dynamic", clips=batch.clips)
    other = model.predict(*seen(batch), noise, condition="dynamic", clips=batch.clips.roll(1, 0))
    found = [oracle, other, *(model.predict(*seen(batch), noise, condition=c) for c in ("oformer", "zero"))]
    assert all(not torch.allclose(a, b) for i, a in enumerate(found) for b in found[:i])
    with pytest.raises(StairError, match="needs clips"):
        model.predict(*seen(batch), noise, condition="dynamic")
    with pytest.raises(StairError, match="condition 'shuffled'"):
        model.predict(*seen(batch), noise, condition="shuffled")


def test_samples_that_see_the_target_have_the_action_loss_of_the_true_clip(model):
    none = torch.zeros(4, dtype=torch.bool)
    batch, drawn = make_batch(), replace(draws(model), drop_dynamic=none, drop_cognition=none)
    target, prediction = (model(batch, drawn, c)["action"] for c in ("dynamic", "oformer"))
    mixed = model(batch, replace(drawn, see_target=~none), "oformer")
    assert mixed["action"] == target != prediction
    assert mixed["align"] == model(batch, drawn, "oformer")["align"]
    assert model.eval()(batch, replace(drawn, see_target=~none), "oformer")["action"] == prediction


def test_the_share_of_samples_that_see_the_target_is_drawn_last(model):
    plain = draws(model, size=2000)
    mixed = model.draw(2000, torch.Generator().manual_seed(0), 0.3)
    assert not plain.see_target.any()
    assert mixed.see_target.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert torch.equal(mixed.noise, plain.noise)
    assert torch.equal(mixed.drop_dynamic, plain.drop_dynamic)


def test_warm_steps_train_the_oformer_by_its_alignment_alone(model):
    losses = model(make_batch(), draws(model), "oformer", True)
    losses["loss"].backward()
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None} == {"oformer"}
    assert losses["loss"] == CONFIG.align_weight * losses["align"]
    assert losses["action"] > 0
    with pytest.raises(StairError, match="batch has none"):
        model(replace(make_batch(), clips=None), draws(model), "oformer", True)


def test_the_chunk_is_as_long_as_the_configuration_says():
    inputs = replace(INPUTS, action=ActionConfig(chunk=5))
    model, batch = build_model(CONFIG, inputs), make_batch()
    batch = replace(batch, actions=batch.actions[:, :5], action_mask=batch.action_mask[:, :5])
    assert model(batch, draws(model), "dynamic")["loss"].isfinite()
    assert model.predict(*seen(batch), torch.randn(4, 5, 7)).shape == (4, 5, 7)
