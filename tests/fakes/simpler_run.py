"""A run folder as an evaluation of SimplerEnv's tasks leaves it: every start of the published grids, drawn
success, no simulator.

A layout is easy or hard for every policy, so that runs are alike point by point as real ones are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from stair.evaluate.episodes import HEADER, EpisodeRecord, append_record
from stair.rundir import RunDir, write_json
from stair.sim.simpler_grid import GRIDS, looks, starts, variant_name

WIDOWX = tuple(task for task in GRIDS if task.startswith("widowx"))
GOOGLE = (
    "google_robot_pick_coke_can",
    "google_robot_move_near",
    "google_robot_open_drawer",
    "google_robot_close_drawer",
    "google_robot_place_apple_in_closed_top_drawer",
)


def simpler_records(
    tasks: Sequence[str],
    *,
    settings: Sequence[str] = ("visual-matching", "variant-aggregation"),
    skill: float = 0.5,
    seed: int = 0,
    policy: str = "runs/stage2",
) -> list[EpisodeRecord]:
    """One record per start of `tasks` in `settings`."""
    rng = random.Random(f"{policy}/{seed}")
    found = []
    for task in tasks:
        for setting in looks(task):
            if setting not in settings:
                continue
            for start in starts(task, setting):
                variant = variant_name(setting, start.look)
                ease = random.Random(f"{task}/{start.number}").uniform(-0.4, 0.4)
                ever = rng.random() < skill + ease
                last = ever and rng.random() < 0.8
                grasped = ever or rng.random() < 0.3
                tail = f"/{variant}" if variant else ""
                found.append(
                    EpisodeRecord(
                        key=f"{task}/ep{start.number:04d}{tail}",
                        task=task,
                        episode_id=start.number,
                        variant=variant,
                        instruction="put it there",
                        success=last,
                        success_ever=ever,
                        first_success=20 if ever else None,
                        steps=start.step_limit,
                        queries=start.step_limit,
                        wall_s=9.0,
                        seed=seed,
                        policy=policy,
                        info={"is_src_obj_grasped": last, "success": last},
                        info_ever={"is_src_obj_grasped": grasped, "success": ever},
                        times_s={"policy": 3.0, "simulator": 6.0},
                    )
                )
    return found


def write_lines(file: Path, records: Sequence[EpisodeRecord]) -> None:
    """Adds records to a file at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        out.writelines(json.dumps(vars(record)) + "\n" for record in records)


def write_run(folder: Path, records: Sequence[EpisodeRecord]) -> Path:
    """A run folder with these records and the settings they share."""
    run = RunDir(folder)
    append_record(run.episodes, records[0])  # the real way once; the rest in the same form, but faster
    write_lines(run.episodes / "rest.jsonl", records[1:])
    settings = {"policy": records[0].policy, "simulator": "simpler", "seed": records[0].seed}
    write_json(run.episodes / HEADER, {**settings, "control": "ensemble", "instruction": ""})
    return folder
