"""The whole model: what depends on what."""

from dataclasses import replace

import pytest
import torch

from stair.errors import StairError
from stair.models.build import build_model
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
    fields = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
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
