"""An array longer than MaxArraySize is one step; only who was killed of it runs again.

In full: tools/many.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import many
from tools.devslurm import life
from tools.devslurm.shape import Cluster, Shape
from tools.devslurm.system import CannotHere


@pytest.fixture
def short_arrays(tmp_path: Path) -> Iterator[Cluster]:
    """A small cluster of its own, where arrays have 25 members at most."""
    shape = Shape(nodes=2, max_array=25, accounting=False)
    try:
        life.require(shape.accounting)
    except CannotHere as missing:
        pytest.skip(f"no Slurm here: {missing.what}; {missing.hint}")
    root = tmp_path / "cluster"
    try:
        yield life.up(root, shape)
    finally:
        life.down(root, purge=True)


@pytest.mark.slow
def test_sixty_members_run_once_and_the_killed_ones_again(short_arrays: Cluster, tmp_path: Path):
    rows = many.rehearse(short_arrays, tmp_path / "work", members=60, kill=5)
    assert len(rows) == 12
    assert [row for row in rows if not row.holds] == [], many.as_markdown(rows)


def test_a_table_says_what_is_wrong():
    rows = [many.Row("members", list(range(9)), list(range(8))), many.Row("ends", 1, 1)]
    assert not rows[0].holds
    assert many.as_markdown(rows).splitlines()[2:] == [
        "| members | 9 members | 8 members | **NO** |",
        "| ends | 1 | 1 | yes |",
    ]
