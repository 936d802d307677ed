import json
import re

import numpy as np
import pytest

from stair.data.index import open_index
from stair.data.rlds import RldsFolder
from stair.data.statistics import Statistics, compute_statistics, read_statistics, write_statistics
from stair.errors import StairError
from tests.data.test_standardize import written_rules

MASK = (True,) * 6 + (False,)


def sorted_quantile(column, q):
    """Linear interpolation between order statistics, written out."""
    ordered = sorted(float(v) for v in column)
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def test_real_bridge_statistics_equal_a_brute_force(bridge):
    episodes = []
    for raw in RldsFolder.open(bridge / "bridge_orig" / "1.0.0").episodes("train"):
        state = raw.values["steps/observation/state"].reshape(-1, 7)
        episodes.append(written_rules(state, raw.values["steps/action"].reshape(-1, 7)))
    index = open_index(bridge, "bridge_orig", "train")
    statistics = compute_statistics(index.actions, index.proprio, MASK, index.episodes)
    assert (statistics.num_transitions, statistics.num_trajectories) == (200, 25)
    for which, moments in ((0, statistics.action), (1, statistics.proprio)):
        rows = [row for episode in episodes for row in episode[which]]
        for d in range(7 + which):  # proprio is OpenVLA's: pose, padding, gripper
            column = [float(row[d]) for row in rows]
            mean = sum(column) / len(column)
            std = (sum((v - mean) ** 2 for v in column) / len(column)) ** 0.5
            assert moments.mean[d] == pytest.approx(mean, abs=1e-6)
            assert moments.std[d] == pytest.approx(std, abs=1e-6)
            assert moments.min[d] == min(column)
            assert moments.max[d] == max(column)
            assert moments.q01[d] == pytest.approx(sorted_quantile(column, 0.01), abs=1e-6)
            assert moments.q99[d] == pytest.approx(sorted_quantile(column, 0.99), abs=1e-6)
    assert statistics.action.mask == MASK
    assert statistics.proprio.mask == (True,) * 8


@pytest.fixture
def statistics():
    values = np.random.default_rng(0).normal(size=(2, 50, 7)).astype(np.float32)
    return compute_statistics(*values, MASK, 3)


def test_the_file_is_openvlas_and_comes_back_equal(statistics, tmp_path):
    path = tmp_path / "dataset_statistics.json"
    write_statistics(path, {"tabletop": statistics})
    tree = json.loads(path.read_text())["tabletop"]
    assert list(tree) == ["action", "proprio", "num_transitions", "num_trajectories"]
    assert set(tree["action"]) == {"mean", "std", "max", "min", "q01", "q99", "mask"}
    assert read_statistics(path) == {"tabletop": statistics}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_missing_mask_means_that_every_dimension_is_normalised(statistics):
    tree = statistics.to_json()
    del tree["action"]["mask"]
    assert Statistics.from_json(tree).action.mask == (True,) * 7


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {}}', '{"a": {"action": {"mean": [1]}}}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(StairError):
        read_statistics(path)


def test_the_cache_beside_a_data_set_holds_one_without_its_name(statistics, tmp_path):
    path = tmp_path / "dataset_statistics_0123abcd.json"
    path.write_text(json.dumps(statistics.to_json()))
    assert read_statistics(path) == {"": statistics}


def test_a_file_that_does_not_fit_is_named(tmp_path):
    path = tmp_path / "s.json"
    path.write_text('{"bridge_orig": {"action": {}}}')
    with pytest.raises(StairError, match=re.escape(str(path)) + ".*no data set statistics"):
        read_statistics(path)
    with pytest.raises(StairError, match=r"cannot read the statistics .*nowhere"):
        read_statistics(tmp_path / "nowhere.json")


def test_nothing_has_no_statistics():
    with pytest.raises(StairError, match="no transitions"):
        compute_statistics(np.empty((0, 7)), np.empty((0, 7)), MASK, 0)
