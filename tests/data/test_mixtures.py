import numpy as np
import pytest

from stair.data.mixtures import MIXTURES, mixture_of, refuse_unreadable
from stair.data.order import Order, epoch_counts, mixture_shares
from stair.data.standardize import STANDARDS
from stair.errors import UsageError

BRIDGE, FRACTAL = 2_135_463, 3_786_400
"""Transitions of the whole data sets, as OpenVLA counts them."""


def test_bridge_rt_1_is_openvlas_from_the_sizes_alone():
    weights = [weight for _, weight in mixture_of("bridge_rt_1")]
    shares = mixture_shares([BRIDGE, FRACTAL], weights)
    assert [round(share, 5) for share in shares.tolist()] == [0.36061, 0.63939]
    counts = epoch_counts([BRIDGE, FRACTAL], weights)
    assert counts.tolist() == [BRIDGE, FRACTAL]
    assert counts.sum() == 5_921_863


def test_starvlas_balance_is_half_and_half_until_the_larger_one_is_seen():
    assert mixture_shares([BRIDGE, FRACTAL], [1.0, 1.0], "starvla").tolist() == [0.5, 0.5]
    assert epoch_counts([BRIDGE, FRACTAL], [1.0, 1.0], "starvla").tolist() == [FRACTAL, FRACTAL]
    order = Order([10, 30], [1.0, 1.0], 0, "starvla")
    parts, samples = order.locate(np.arange(60))
    assert sorted(samples[parts == 1]) == list(range(30))
    assert sorted(samples[parts == 0]) == sorted(list(range(10)) * 3)


def test_the_soups_have_openvlas_members_and_weights():
    soup, plus, minus = (dict(mixture_of(f"oxe_magic_soup{kind}")) for kind in ("", "_plus", "_plus_minus"))
    assert (len(soup), len(plus), len(minus)) == (23, 27, 25)
    assert soup["fractal20220817_data"] == plus["fractal20220817_data"] == 0.54087122203
    assert minus["fractal20220817_data"] == soup["bridge_orig"] == minus["bridge_orig"] == 1.0
    assert plus.keys() - soup.keys() == {"bc_z", "fmb_dataset", "dobbe", "droid"}
    assert plus.keys() - minus.keys() == {"language_table", "droid"}
    assert (plus["bc_z"], plus["dobbe"], plus["droid"]) == (0.2, 0.2, 0.06)
    assert soup["nyu_franka_play_dataset_converted_externally_to_rlds"] == 3.0
    assert sum(soup.values()) == pytest.approx(29.57497585143)


def test_every_mixture_has_a_data_set_of_weight_one():
    assert all(any(weight == 1.0 for _, weight in mixture) for mixture in MIXTURES.values())


def test_data_sets_without_a_standard_are_refused_by_name():
    mixture = mixture_of("oxe_magic_soup_plus")
    with pytest.raises(UsageError) as caught:
        refuse_unreadable("oxe_magic_soup_plus", mixture, STANDARDS)
    assert "25 data sets that STAIR cannot standardise: kuka, taco_play" in caught.value.what
    assert "bridge_orig" not in caught.value.what
    assert "STANDARDS" in caught.value.hint
    refuse_unreadable("bridge_rt_1", mixture_of("bridge_rt_1"), STANDARDS)


def test_an_unknown_mixture_gets_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'bridge_rt_1'"):
        mixture_of("bridge_rt1")
