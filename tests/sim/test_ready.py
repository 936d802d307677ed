"""What an evaluation finds out before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.errors import StairError
from stair.sim import ready
from stair.sim.preflight import Picture
from stair.sim.ready import make_ready
from tests.sim.test_assets import CARROT, TASK, folder  # noqa: F401


@pytest.fixture
def drawn(monkeypatch) -> list[str]:
    """The drivers that were tried; drawing itself is test_preflight's."""
    tried: list[str] = []

    def draws(choice: str) -> Picture:
        tried.append(choice)
        return Picture(("llvmpipe",), 0.2)

    monkeypatch.setattr(ready, "preflight", draws)
    return tried


def test_a_simulator_that_draws_itself_needs_nothing(drawn: list[str]):
    assert make_ready("tabletop", ["tabletop_put_block"], "", "") == {}
    assert drawn == []


def test_the_driver_that_was_asked_for_is_tried_and_none_is_nvidia(drawn: list[str]):
    assert make_ready("maniskill3", ["maniskill_pick_cube"], "cpu", "") == {}
    make_ready("simpler", [TASK], "", "")
    assert drawn == ["cpu", "nvidia"]


def test_assets_are_checked_before_anything_is_drawn(folder: Path, drawn: list[str]):  # noqa: F811
    facts = make_ready("maniskill3", [TASK], "cpu", str(folder))
    assert len(facts["assets_digest"]) == 16
    (folder / f"{CARROT}/collision.obj").unlink()
    with pytest.raises(StairError, match=r"collision\.obj"):
        make_ready("maniskill3", [TASK], "cpu", str(folder))
    assert drawn == ["cpu"]
