"""What can be found out about a simulator before any of its scenes is built.

Takes its name and settings, hands on what the records must say of it; raises StairError where nothing could
come of it. A simulator that draws with Vulkan draws one small picture in a process of its own first.
"""

from __future__ import annotations

from collections.abc import Iterable

from stair import console
from stair.sim.preflight import preflight
from stair.sim.tasks import DRAWING


def make_ready(simulator: str, tasks: Iterable[str], render: str, assets: str) -> dict[str, str]:
    """Facts that two runs must share to be compared: `assets_digest` where the simulator reads assets.

    Raises CannotDraw when the driver does not draw, StairError for assets that are missing or changed.
    """
    facts: dict[str, str] = {}
    if simulator == "maniskill3":
        from stair.sim.assets import all_assets, asset_folder, check_assets

        folder = asset_folder(assets)
        found = check_assets(folder, tasks)
        if found.files:
            facts["assets_digest"] = all_assets(folder).digest
        if found.unpublished:
            console.say(f"assets that are not as published: {', '.join(found.unpublished)}")
        if found.files and not found.has_filter:
            console.say(
                "the robot's files lack ManiSkill's wx250s.srdf: its links may pass through each other"
            )
    if simulator in DRAWING:
        picture = preflight(render or "nvidia")
        console.say(f"drawn by {', '.join(picture.devices) or render or 'nvidia'}")
    return facts
