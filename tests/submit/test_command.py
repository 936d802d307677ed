"""Settings become words that parse back to the same settings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stair.evaluate.config import EvalConfig
from stair.serve.config import ServeConfig
from stair.settings import build, override, parse_overrides
from stair.submit.command import flags


def read_back(config):
    return build(type(config), override({}, parse_overrides(flags(config))))


def test_defaults_need_no_words():
    assert flags(ServeConfig()) == []


@given(
    instruction=st.text(max_size=30),
    tasks=st.lists(st.sampled_from(["a", "no", "3", "null"]), min_size=1).map(tuple),
    scale=st.floats(0.001, 1e6),
    swap=st.booleans(),
)
def test_words_of_an_evaluation_mean_the_same_evaluation(instruction, tasks, scale, swap):
    config = EvalConfig(instruction=instruction, tasks=tasks, action_scale=scale, swap_goal=swap)
    assert read_back(config) == config
