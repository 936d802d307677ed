"""Every simulator there is, by name; each is imported only when it is asked for.

Takes a name and its options, hands on something that keeps sim/contract.py's promise.
"""

from __future__ import annotations

from typing import Any

from stair.errors import UsageError, unknown
from stair.sim.contract import Simulator
from stair.sim.tasks import TASKS


def make_simulator(name: str, **options: Any) -> Simulator:
    """Builds the simulator `name`. Raises UsageError for unknown names and options.

    options of tabletop: image_size, grasp_tolerance, max_steps (see sim/tabletop.py); of simpler: assets,
    render, max_steps (see sim/simpler.py); of maniskill3: the same (see sim/maniskill3.py).
    """
    match name:
        case "tabletop":
            from stair.sim.tabletop import TabletopSim as chosen
        case "simpler":
            from stair.sim.simpler import SimplerSim as chosen
        case "maniskill3":
            from stair.sim.maniskill3 import ManiSkill3Sim as chosen
        case _:
            raise unknown("simulator", name, TASKS)
    try:
        return chosen(**options)
    except TypeError as error:
        raise UsageError(f"simulator {name}: {error}", hint="see the options in its file") from None
