"""Flow matching: times, path, masked error, Euler."""

import pytest
import torch

from stair.errors import UsageError
from stair.models.config import FlowConfig
from stair.models.parts import flow


def times(**settings) -> torch.Tensor:
    return flow.draw_times(FlowConfig(**settings), (200_000,), torch.Generator().manual_seed(0))


def test_times_follow_beta_towards_the_data_end():
    drawn = times(alpha=1.5, bias="data")
    assert drawn.mean().item() == pytest.approx(1.5 / 2.5, abs=3e-3)  # mean of Beta(1.5, 1)
    assert drawn.min() >= 1e-3
    assert drawn.max() <= 1 - 1e-3


def test_noise_bias_is_the_mirror_image():
    assert times(alpha=1.5, bias="noise").mean().item() == pytest.approx(1 / 2.5, abs=3e-3)


def test_path_runs_from_noise_to_action_at_constant_velocity():
    actions, noise = torch.randn(2, 3, 16, 7), torch.randn(2, 3, 16, 7)
    for t in (0.0, 0.25, 1.0):
        point, velocity = flow.noisy_and_target(actions, noise, torch.full((2, 3), t))
        torch.testing.assert_close(point + (1 - t) * velocity, actions)
        torch.testing.assert_close(point - t * velocity, noise)


def test_steps_beyond_the_episode_do_not_count():
    predicted, target = torch.zeros(2, 16, 7), torch.ones(2, 16, 7)
    mask = torch.ones(2, 16, dtype=torch.bool)
    mask[0, 4:] = False
    target[0, 4:] = 100.0
    assert flow.masked_error(predicted, target, mask).item() == pytest.approx(1.0)


def test_every_sample_weighs_the_same_however_many_real_steps_it_has():
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[0, 0], mask[1] = True, True
    predicted = torch.zeros(2, 16, 7)
    predicted[0] = 2.0
    assert flow.masked_error(predicted, torch.zeros(2, 16, 7), mask).item() == pytest.approx((4 + 0) / 2)


def test_euler_takes_as_many_evaluations_as_steps_and_is_exact_on_straight_paths():
    noise, goal, seen = torch.randn(3, 16, 7), torch.randn(3, 16, 7), []

    def velocity(x, t):
        seen.append(round(t[0].item(), 6))
        return goal - noise

    torch.testing.assert_close(flow.integrate(velocity, noise, 10), goal)
    assert seen == [round(i / 10, 6) for i in range(10)]  # not linspace's nine, as WoG has it


def test_the_wog_rule_takes_one_evaluation_less_from_point_to_point():
    noise, goal, seen = torch.randn(3, 16, 7), torch.randn(3, 16, 7), []

    def velocity(x, t):
        seen.append(t[0].item())
        return goal - noise

    torch.testing.assert_close(flow.integrate(velocity, noise, 10, "wog"), goal)
    assert seen == pytest.approx([i / 9 for i in range(9)])


@pytest.mark.parametrize(("steps", "rule"), [(0, "intervals"), (1, "wog")])
def test_no_step_at_all_is_refused(steps, rule):
    with pytest.raises(UsageError, match="no step at all"):
        flow.euler_times(steps, rule)


def test_many_points_for_each_sample_are_integrated_at_once():
    noise = torch.randn(5, 3, 16, 7)
    together = flow.integrate(lambda x, t: t[..., None, None] - x, noise, 4)
    for n in range(5):
        alone = flow.integrate(lambda x, t: t[..., None, None] - x, noise[n], 4)
        torch.testing.assert_close(together[n], alone)
