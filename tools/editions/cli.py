"""tools/convert-dataset: RLDS becomes LeRobot, LeRobot becomes RLDS.

    tools/convert-dataset data/bridge_orig/1.0.0 data/bridge_orig_lerobot --to lerobot --version v2.1
    tools/convert-dataset data/bridge_orig_lerobot elsewhere/bridge_orig/1.0.0 --to rlds

What is written trains the same samples as what was read (pictures within the codec's error; `--codec jpeg`
keeps them to the byte). The target appears under its name when it is whole; an interrupted command goes on
where it stopped when it is repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from stair.console import show, show_table
from stair.data.config import LeRobotConfig
from stair.data.lerobot.find import MARK
from stair.data.lerobot.folder import VERSIONS
from stair.data.lerobot.writer import CODECS
from stair.errors import FINE, UsageError
from tools.disk import size_text
from tools.editions.edition import Edition


def main(words: list[str] | None = None) -> int:
    """0 when the target is written."""
    asked = _parser().parse_args(sys.argv[1:] if words is None else words)
    started = time.monotonic()
    if not asked.source.is_dir():
        raise UsageError(
            f"there is no folder {asked.source}", hint="the folder with dataset_info.json or meta/"
        )
    there = "lerobot" if (asked.source / MARK).is_file() else "rlds"
    if there == asked.to:
        raise UsageError(f"{asked.source} is {there} already", hint="--to the other one")
    edition = _to_lerobot(asked) if asked.to == "lerobot" else _to_rlds(asked)
    _tell(asked, edition, time.monotonic() - started)
    return FINE


def _to_lerobot(asked: argparse.Namespace) -> Edition:
    from tools.editions.to_lerobot import convert

    return convert(
        asked.source,
        asked.target,
        dataset=asked.name,
        split=asked.split,
        version=asked.version,
        codec=asked.codec or "av1",
        fps=asked.fps,
        episodes=asked.episodes,
    )


def _to_rlds(asked: argparse.Namespace) -> Edition:
    from tools.editions.to_rlds import convert

    codec = asked.codec or "png"
    if codec not in ("png", "jpeg"):
        raise UsageError(f"RLDS has no {codec}", hint="--codec png (exact) or jpeg (a fifth of the size)")
    config = LeRobotConfig(asked.image, tuple(asked.state), tuple(asked.action))
    return convert(
        asked.source,
        asked.target,
        dataset=asked.name,
        split=asked.split,
        codec=codec,
        config=config,
        episodes=asked.episodes,
    )


def _tell(asked: argparse.Namespace, edition: Edition, seconds: float) -> None:
    if asked.json:
        facts = asdict(edition) | {"source": str(asked.source), "target": str(asked.target)}
        show(json.dumps(facts | {"to": asked.to, "seconds": round(seconds, 1)}))
        return
    rows = [
        ("folder", asked.target),
        ("episodes", edition.episodes),
        ("steps", edition.steps),
        ("size", size_text(edition.bytes)),
        *((f"left out: {why}", count) for why, count in edition.left_out.items() if count),
        ("seconds", f"{seconds:.0f}"),
    ]
    show_table(edition.form, ("written", ""), rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tools/convert-dataset", description="RLDS to LeRobot and back")
    add = parser.add_argument
    add("source", type=Path, help="an RLDS version folder (bridge_orig/1.0.0), or a LeRobot folder")
    add("target", type=Path, help="the folder to write; for RLDS it should be .../DATASET/VERSION")
    add("--to", choices=("lerobot", "rlds"), required=True)
    add("--name", default="", help="the data set's name; else the folder tells it")
    add("--split", default="train", help="of the source (train)")
    add("--version", choices=VERSIONS, default="v2.1", help="of LeRobot (v2.1)")
    codecs = (
        "to LeRobot: av1 (default), h264; jpeg: images as they are, in tables. "
        "to RLDS: png (default, exact), jpeg; images of tables stay as they are"
    )
    add("--codec", choices=CODECS, help=codecs)
    add("--fps", type=float, help="of the episodes, where the data set is not a known one")
    add("--episodes", type=int, help="the first so many only")
    add("--image", default="", help="camera of the LeRobot folder, see data.lerobot.image")
    add("--state", nargs="*", default=(), help="see data.lerobot.state")
    add("--action", nargs="*", default=(), help="see data.lerobot.action")
    add("--json", action="store_true", help="the result as JSON on stdout")
    return parser
