"""Simulators are made by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stair.errors import UsageError
from stair.sim.build import make_simulator
from stair.sim.contract import GridPoint


def test_a_simulator_takes_its_options():
    sim = make_simulator("tabletop", image_size=40)
    assert sim.reset(GridPoint("tabletop_put_block", 0)).image.shape == (40, 40, 3)
    sim.close()


def test_unknown_names_and_options_are_refused():
    with pytest.raises(UsageError, match="did you mean 'tabletop'"):
        make_simulator("table_top")
    with pytest.raises(UsageError, match="image_sise"):
        make_simulator("tabletop", image_sise=40)


def test_a_simulator_loads_nothing_of_the_training_stack():
    code = (
        "import sys; from stair.sim.build import make_simulator; make_simulator('tabletop');"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'PIL', 'simplejpeg')"
        " or m.startswith(('stair.data', 'stair.models', 'stair.train'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
