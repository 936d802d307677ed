import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stair.data.order import Order, Permutation, held_out_episodes, uniforms


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 2**31), st.integers(0, 5))
def test_a_permutation_reaches_every_number_once(n, seed, epoch):
    assert np.array_equal(np.sort(Permutation(n, seed, epoch)(np.arange(n))), np.arange(n))


def test_a_permutation_of_millions_is_asked_anywhere_without_being_made():
    permutation = Permutation(5_921_863, 42, 0)
    some = permutation(np.arange(5_900_000, 5_901_000))
    assert len(set(some.tolist())) == 1000
    assert some.min() >= 0
    assert some.max() < 5_921_863
    assert permutation(np.array([5_900_500]))[0] == some[500]


def test_neighbours_are_torn_apart():
    n = 10_000
    order = Permutation(n, 0, 0)(np.arange(n))
    assert abs(np.corrcoef(np.arange(n), order)[0, 1]) < 0.05
    assert (np.abs(np.diff(order)) < 10).mean() < 0.01
    # Every tenth of the run sees every tenth of the data about equally often.
    table, *_ = np.histogram2d(np.arange(n), order, bins=10)
    assert table.min() > 60
    assert table.max() < 140


def test_seeds_and_epochs_give_other_orders():
    order = Order([1000], [1.0], seed=0)
    first, second = order.locate(np.arange(1000))[1], order.locate(np.arange(1000, 2000))[1]
    other = Order([1000], [1.0], seed=1).locate(np.arange(1000))[1]
    assert sorted(first) == sorted(second) == list(range(1000))
    assert (first == second).mean() < 0.02
    assert (first == other).mean() < 0.02


def test_a_batch_across_the_turn_of_an_epoch_is_that_of_single_questions():
    order = Order([10, 7], [1.0, 1.0], seed=3)
    parts, samples = order.locate(np.arange(60))
    for position in range(60):
        part, sample = order.locate(np.array([position]))
        assert (part[0], sample[0]) == (parts[position], samples[position])


def test_equal_weights_read_every_step_of_both_sets_once_an_epoch():
    order = Order([30, 70], [1.0, 1.0], seed=0)
    assert order.length == 100
    for epoch in range(3):
        parts, samples = order.locate(np.arange(100 * epoch, 100 * epoch + 100))
        assert sorted(samples[parts == 0]) == list(range(30))
        assert sorted(samples[parts == 1]) == list(range(70))


def test_a_smaller_weight_is_kept_exactly_and_still_reaches_every_step():
    order = Order([40, 60], [1.0, 0.5], seed=0)
    assert order.counts.tolist() == [40, 30]  # 60 x 0.5 while the first is seen whole
    parts, samples = order.locate(np.arange(140))
    for epoch in (slice(0, 70), slice(70, 140)):
        assert (parts[epoch] == 0).sum() == 40
    assert sorted(samples[parts == 1]) == list(range(60))  # two epochs make it whole


def test_held_out_episodes_are_exact_nested_and_never_none():
    numbers = np.arange(200)
    few, many = held_out_episodes(numbers, 0.06), held_out_episodes(numbers, 0.2)
    assert (few.sum(), many.sum()) == (12, 40)
    assert many[few].all()
    assert held_out_episodes(numbers[:5], 0.01).sum() == 1
    assert held_out_episodes(numbers[:5], 0.0).sum() == 0
    assert 5 < many[:100].sum() < 35


def test_episodes_that_were_written_one_after_the_other_are_held_out_together():
    numbers = np.random.default_rng(0).permutation(200)
    held = set(numbers[held_out_episodes(numbers, 0.2)].tolist())
    assert all({n // 4 * 4 + k for k in range(4)} <= held for n in held)


def test_draws_are_uniform_and_belong_to_their_position():
    draws = uniforms(7, np.arange(20_000), 3)
    assert ((draws >= 0) & (draws < 1)).all()
    assert np.allclose(draws.mean(0), 0.5, atol=0.01)
    assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 0.03
    np.testing.assert_array_equal(uniforms(7, np.array([123]), 3)[0], draws[123])
    assert (uniforms(8, np.arange(100), 3) != draws[:100]).all()
