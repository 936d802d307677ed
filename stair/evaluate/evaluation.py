"""A whole evaluation: the points that are still missing are played and recorded.

Takes an EvalConfig, hands on the records of its run folder. Repeating a command goes on where it ended:
points on record are not played again, those that ended in an error are. The surprise: one run folder
holds one comparison, so settings that would change what a record means are refused if they differ from
those the folder began with.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from stair import console, settings
from stair.errors import StairError, UsageError
from stair.evaluate.config import EvalConfig
from stair.evaluate.episodes import HEADER, EpisodeRecord, append_record, read_records
from stair.evaluate.orders import Order
from stair.evaluate.points import all_points, remarks, share
from stair.evaluate.simulating import Worksite, connect
from stair.evaluate.undrawn import explained
from stair.evaluate.workers import DiedStarting, run_orders
from stair.rundir import RunDir, write_json, write_whole
from stair.sim.contract import GridPoint
from stair.sim.ready import make_ready
from stair.sim.render import CannotDraw
from stair.sim.tasks import DRAWING

_WHERE_TOLD = ("max_steps", "unnorm_key", "render", "noise")
"""Settings of the identity that are left out where they are neutral: older folders do not have them."""


def evaluate(config: EvalConfig) -> list[EpisodeRecord]:
    """Plays what is missing and returns the records of every point that `config` asks for.

    Raises UsageError for settings that do not fit the run folder, CannotDraw with its cause where nothing can
    be drawn, StairError when the server is lost or when episodes ended in errors; what was finished stays on
    record either way.
    """
    try:
        return _evaluate(config)
    except (CannotDraw, DiedStarting) as error:
        if config.simulator not in DRAWING:
            raise
        raise explained(error, config) from None


def _evaluate(config: EvalConfig) -> list[EpisodeRecord]:
    run = RunDir(Path(config.run)).create()
    everything = all_points(config)
    asked = share(everything, config.shard, config.shards)
    for remark in remarks(config):
        console.say(remark)
    address = find_address(config.policy, config.timeout_s)
    policy = connect(address, config)  # a server that is not there is told before all else
    policy.close()
    facts = make_ready(config.simulator, config.tasks, config.render, config.assets)
    _keep_settings(run, config, policy.spec.name, facts)
    before = {record.key: record for record in read_records(run.episodes) if not record.error}
    done = [before[point.key] for point in asked if point.key in before]
    mine = share(_orders(everything, config.videos), config.shard, config.shards)
    orders = [order for order in mine if order.point.key not in before]
    if done:
        console.say(f"{len(done)} of {len(asked)} episodes are on record, {len(orders)} to go")
    if orders:
        _play(orders, done, Worksite(address, config, policy.spec.name), run)
    keys = {point.key for point in asked}
    records = [record for record in read_records(run.episodes) if record.key in keys]
    failed = [record for record in records if record.error]
    if failed:
        first = failed[0]
        raise StairError(
            f"{len(failed)} of {len(asked)} episodes ended in errors, first {first.key}: {first.error}",
            hint="repeat this command to play them again",
        )
    return records


def identity(config: EvalConfig, policy: str) -> dict[str, Any]:
    """The settings that decide what a record means. Task, layout and variant stand in its key."""
    control: dict[str, Any] = {"control": config.control}
    if config.control == "chunk":
        control["execute"] = config.execute
    else:
        control["ensemble_alpha"] = config.ensemble_alpha
    told = {name: getattr(config, name) for name in _WHERE_TOLD}
    return {
        "policy": policy,
        "simulator": config.simulator,
        "camera": config.camera,
        **control,
        "action_scale": config.action_scale,
        "seed": config.seed,
        "instruction": config.instruction,
        **{name: value for name, value in told.items() if value != getattr(EvalConfig(), name)},
    }


def find_address(policy: str, wait_s: float) -> str:
    """The address meant by `--policy`: itself, or what stands in the address file of that name.

    A server writes the file when it answers; until then, but no longer than `wait_s`, this waits.
    """
    if "://" in policy:
        return policy
    file, deadline, told = Path(policy), time.monotonic() + wait_s, False
    while True:
        try:
            address = file.read_text().strip()
        except FileNotFoundError:
            address = ""
        except OSError as error:
            raise UsageError(f"cannot read address file {file}: {error.strerror}") from None
        if address:
            return address
        if time.monotonic() > deadline:
            raise StairError(
                f"no policy server has written its address to {file} within {wait_s:g} s",
                hint="look into the server's log, or give an address: --policy ws://HOST:PORT",
            )
        if not told:
            console.say(f"waiting for a policy server to write its address to {file}")
            told = True
        time.sleep(0.1)


def _orders(asked: list[GridPoint], videos: int) -> list[Order]:
    """The first `videos` points of each task are filmed, all of them when it is negative."""
    seen: dict[tuple[str, str], int] = {}
    orders = []
    for point in asked:
        place = seen.get((point.task, point.variant), 0)
        seen[point.task, point.variant] = place + 1
        orders.append(Order(point, film=videos < 0 or place < videos))
    return orders


def _keep_settings(run: RunDir, config: EvalConfig, policy: str, facts: dict[str, str]) -> None:
    """Writes the settings that the records share, with `facts` about the simulator, or holds these against
    those that are there."""
    import yaml

    file, mine = run.episodes / HEADER, {**identity(config, policy), **facts}
    if not _first_to_write(file, mine):
        try:
            theirs = json.loads(file.read_text())
        except ValueError:
            raise StairError(f"{file} is damaged", hint="choose another run folder with --run") from None
        for name in sorted(set(mine) | set(theirs)):
            neutral = getattr(EvalConfig(), name, None)
            before, now = theirs.get(name, neutral), mine.get(name, neutral)
            if before != now:
                raise UsageError(
                    f"{run.path} holds episodes with {name} {before!r}, not {now!r}",
                    hint="choose another run folder with --run, or the same settings",
                )
    if not run.config.exists():
        whole = replace(config, shard=0, shards=1)  # the folder is of all shares
        write_whole(run.config, yaml.safe_dump(settings.dump(whole), sort_keys=False))


def _first_to_write(file: Path, value: Any) -> bool:
    """Writes a JSON file, whole, unless there is one. Of an array's members that begin at once, one does."""
    if file.exists():
        return False
    beside = file.with_name(f".{file.name}.{uuid4().hex}")
    write_json(beside, value)
    try:
        os.link(beside, file)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    return True


def _play(orders: list[Order], done: list[EpisodeRecord], site: Worksite, run: RunDir) -> None:
    ended = list(done)
    share = f"-{site.config.shard:05d}" if site.config.shards > 1 else ""
    total = len(done) + len(orders)
    progress = console.Progress("episodes", total)
    progress.resume_at(len(done))
    played = len(done)

    def on_record(record: EpisodeRecord) -> None:
        nonlocal played
        append_record(run.episodes, record, share)
        played += 1
        if not record.error:
            ended.append(record)
        wins = sum(one.success for one in ended)
        progress.update(
            played, f"success {wins}/{len(ended)}" + (f" = {wins / len(ended):.0%}" if ended else "")
        )

    run_orders(orders, site, site.config.workers, on_record)
