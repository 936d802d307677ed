import json
from dataclasses import replace

import numpy as np
import pytest

from stair.data.config import DataConfig
from stair.data.index import open_index
from stair.data.normalizing import choose_statistics, distance
from stair.data.rlds_features import manipulation_features
from stair.data.rlds_writer import RldsWriter
from stair.data.statistics import compute_statistics, write_statistics
from stair.errors import StairError, UsageError
from tests.data.episodes import make_steps

MASK = (True,) * 6 + (False,)
LENGTHS = {"train": (9, 14, 6), "val": (8, 11)}


@pytest.fixture
def data(tmp_path):
    """Tabletop episodes in two splits; one of them is described by nobody."""
    folder = tmp_path / "tabletop" / "1.0.0"
    shards = dict.fromkeys(LENGTHS, 1)
    with RldsWriter(
        folder, name="tabletop", features=manipulation_features(24, 24), split_shards=shards
    ) as writer:
        for split, lengths in LENGTHS.items():
            for length in lengths:
                words = "" if length == 14 else "lift"
                writer.add(split, make_steps(length, length, words=words), {"episode_id": 0, "file_path": ""})
    return DataConfig(root=str(tmp_path))


@pytest.fixture
def index(data):
    return open_index(data.root, "tabletop", "train")


@pytest.fixture
def own(index):
    return compute_statistics(index.actions, index.proprio, MASK, index.episodes)


def actions_of(*lengths):
    return np.concatenate([[step["action"] for step in make_steps(n, n)] for n in lengths])


def test_by_default_neither_validation_nor_undescribed_episodes_count(data, index, own):
    chosen = choose_statistics(data, index, own)
    assert chosen is own
    np.testing.assert_allclose(chosen.action.q01, np.quantile(actions_of(9, 6), 0.01, axis=0), atol=1e-6)


def test_19_openvlas_choice_counts_every_split_and_every_episode(data, index, own):
    chosen = choose_statistics(replace(data, statistics="openvla"), index, own)
    assert (chosen.num_transitions, chosen.num_trajectories) == (48, 5)
    every = actions_of(9, 14, 6, 8, 11)
    np.testing.assert_allclose(chosen.action.q01, np.quantile(every, 0.01, axis=0), atol=1e-6)
    np.testing.assert_allclose(chosen.action.mean, every.mean(axis=0), atol=1e-6)


def test_openvlas_cache_beside_the_data_is_taken_where_its_counts_match(data, index, own, capsys):
    data = replace(data, statistics="openvla")
    everything = choose_statistics(data, index, own)
    beside = replace(everything, action=replace(everything.action, q01=(-1.0,) * 7))
    folder = f"{data.root}/tabletop/1.0.0"
    for name, statistics in (("a", replace(beside, num_transitions=47)), ("b", beside)):
        with open(f"{folder}/dataset_statistics_{name}.json", "w") as file:
            json.dump(statistics.to_json(), file)
    assert choose_statistics(data, index, own) == beside
    told = capsys.readouterr().err
    assert "a.json is of 47 transitions in 5 episodes, the data has 48 in 5; not used" in told
    assert "normalised with" in told


def test_openvlas_choice_needs_all_splits(data, index, own):
    with pytest.raises(UsageError, match="tabletop is a LeRobot edition"):
        choose_statistics(replace(data, statistics="openvla"), replace(index, everything=None), own)


def test_a_file_that_says_the_same_is_taken_in_silence(data, index, own, tmp_path, capsys):
    write_statistics(tmp_path / "s.json", {"tabletop": own})
    assert choose_statistics(replace(data, statistics=str(tmp_path / "s.json")), index, own) == own
    assert capsys.readouterr().err == ""


def test_a_file_that_differs_is_taken_and_told_of(data, index, own, tmp_path, capsys):
    low = list(own.action.q01)
    low[2] -= 0.5 * (own.action.q99[2] - low[2])
    other = replace(own, action=replace(own.action, q01=tuple(low)))
    write_statistics(tmp_path / "s.json", {"tabletop": other})
    assert choose_statistics(replace(data, statistics=str(tmp_path / "s.json")), index, own) == other
    assert "differ by up to 33.3% of their range (action 2)" in capsys.readouterr().err


def test_files_of_other_data_are_refused(data, index, own, tmp_path):
    def choose(path):
        return choose_statistics(replace(data, statistics=str(path)), index, own)

    with pytest.raises(StairError, match=r"cannot read the statistics .*none\.json") as caught:
        choose(tmp_path / "none.json")
    assert "data.statistics training" in caught.value.hint
    write_statistics(tmp_path / "s.json", {"bridge_orig": own})
    with pytest.raises(UsageError, match=r"has no statistics of tabletop; it has bridge_orig"):
        choose(tmp_path / "s.json")
    values = np.random.default_rng(0).normal(size=(9, 14)).astype(np.float32)
    write_statistics(tmp_path / "s.json", {"tabletop": compute_statistics(values, values, (True,) * 14, 1)})
    with pytest.raises(StairError, match="14 dimensions, the data's 7"):
        choose(tmp_path / "s.json")


def test_a_dimension_that_never_moves_is_no_distance(own):
    still = replace(own, action=replace(own.action, q01=(0.0,) * 7, q99=(0.0,) * 7))
    assert distance(still, still) == (0.0, 0)
