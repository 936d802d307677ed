"""The DiT head, and the defect it must not inherit."""

import pytest
import torch

from stair import settings
from stair.models.config import HeadConfig
from stair.models.parts.dit import ActionModel


def head() -> ActionModel:
    torch.manual_seed(0)
    return ActionModel(HeadConfig(depth=2, width=32, heads=2), llm_width=24, action_dim=7, chunk=16)


def test_upstream_defect_1_queries_and_keys_of_per_attn_learn():
    model = head()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(1)
    inputs = (
        torch.randn(1, 4, 16, 7, generator=generator),
        torch.rand(1, 4, generator=generator),
        torch.randn(4, 1, 24, generator=generator),
        torch.randn(4, 2, 24, generator=generator),
    )
    target = torch.randn(1, 4, 16, 7, generator=generator)
    for _ in range(3):
        optimizer.zero_grad()
        (model(*inputs) - target).square().mean().backward()
        optimizer.step()
    for block in model.net.blocks:
        queries, keys, values = block.per_attn.in_proj_weight.grad.chunk(3)
        assert queries.abs().max() > 0
        assert keys.abs().max() > 0
        assert values.abs().max() > 0


def test_a_fresh_head_answers_zero_and_ignores_the_dynamic_tokens():
    model = head()
    noisy, time, cognition = torch.randn(1, 2, 16, 7), torch.rand(1, 2), torch.randn(2, 1, 24)
    assert model(noisy, time, cognition, torch.randn(2, 2, 24)).abs().max() == 0


def test_dropped_conditions_do_not_reach_the_output():
    model = head()
    torch.nn.init.normal_(model.net.final_layer.linear.weight)
    for block in model.net.blocks:
        torch.nn.init.normal_(block.per_attn.out_proj.weight)
    noisy, time, drop = torch.randn(1, 2, 16, 7), torch.rand(1, 2), torch.tensor([True, False])
    first = model(noisy, time, torch.randn(2, 1, 24), torch.randn(2, 2, 24), (drop, drop))
    second = model(noisy, time, torch.randn(2, 1, 24), torch.randn(2, 2, 24), (drop, drop))
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 1], second[:, 1])


def test_repeated_draws_equal_separate_ones():
    model = head()
    torch.nn.init.normal_(model.net.final_layer.linear.weight)
    noisy, time = torch.randn(3, 2, 16, 7), torch.rand(3, 2)
    cognition, per_token = torch.randn(2, 1, 24), torch.randn(2, 2, 24)
    together = model(noisy, time, cognition, per_token)
    for r in range(3):
        alone = model(noisy[r : r + 1], time[r : r + 1], cognition, per_token)
        torch.testing.assert_close(together[r : r + 1], alone)


@pytest.mark.parametrize(("size", "shape"), [("S", (6, 384, 4)), ("B", (12, 768, 12)), ("L", (24, 1024, 16))])
def test_a_dit_is_known_by_its_name(size, shape):
    config = settings.build(HeadConfig, {"size": size, "width": 8})
    assert (config.depth, config.width, config.heads) == shape
    assert settings.build(HeadConfig, settings.dump(config)) == config


def test_the_default_head_is_dit_b():
    plain, named = HeadConfig(), HeadConfig(size="B")
    assert (plain.depth, plain.width, plain.heads) == (named.depth, named.width, named.heads)
