"""Settings are listed with their sentences."""

from __future__ import annotations

from stair.submit.job import TrainJob
from stair.submit.listing import settings_of


def test_nested_settings_are_listed_by_dotted_name_with_type_value_and_sentence():
    rows = {row.key: row for row in settings_of(TrainJob())}
    row = rows["train.data.batch_size"]
    assert (row.type, row.value) == ("int", TrainJob().train.data.batch_size)
    assert row.about.startswith("Samples of one optimiser step")
    assert rows["train.seed"].about == ""
    assert "train.data" not in rows
