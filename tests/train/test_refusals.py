"""Settings that no run could follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.errors import UsageError
from stair.train.refusals import refuse_impossible
from tests.train.small import ALONE, settings_of


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"tracking__log_every": 0}, r"tracking\.log_every is 0"),
        ({"stage2__warm_steps": -1}, r"stage2\.warm_steps is -1"),
        ({"ema__decay": 1.0}, r"ema\.decay is 1\.0"),
        ({"stage2__mix_target": 1.5}, r"stage2\.mix_target is 1\.5"),
        ({"stage2__mix_target": 0.5}, r"mixes for no steps"),
        ({"optimizer__learning_rate": 0.0}, r"learning_rate is 0"),
        ({"engine__frozen_dtype": "bf16"}, r"frozen_dtype bf16 under engine\.precision fp32"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_be_is_refused_by_name_with_one_that_can(
    tmp_path: Path, flags: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        refuse_impossible(settings_of(tmp_path, tmp_path, **flags), ALONE)
    assert caught.value.hint


def test_the_small_run_of_these_tests_is_not_refused(tmp_path: Path) -> None:
    refuse_impossible(settings_of(tmp_path, tmp_path), ALONE)
