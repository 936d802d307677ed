"""Looks at a run again and again until it ends: redrawn on a terminal, a line per change in a log.

Polls politely: soon at first, then every ten seconds, which is how often a person reads and what a busy
slurmctld forgives. Ctrl-C ends the watching and nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from stair.console import say
from stair.report.show import Line, as_lines, clock, step_line
from stair.report.status import RunStatus

FIRST_S, LAST_S, GROWTH = 2.0, 10.0, 1.3
COLOURS = {"good": "green", "bad": "red", "dim": "dim", "": ""}


def watch(look: Callable[[], RunStatus], *, pause: Callable[[float], None] = time.sleep) -> RunStatus:
    """Shows what `look` sees until the run is over or Ctrl-C; returns the last that was seen."""
    return _redraw(look, pause) if sys.stdout.isatty() else _tell_changes(look, pause)


def pauses() -> Iterator[float]:
    """Seconds between looks."""
    seconds = FIRST_S
    while True:
        yield seconds
        seconds = min(LAST_S, seconds * GROWTH)


def _redraw(look: Callable[[], RunStatus], pause: Callable[[float], None]) -> RunStatus:
    from rich.live import Live

    status = look()
    try:
        # Transient, because a screen cuts what is longer than itself; the caller shows the last status whole.
        with Live(drawn(status), auto_refresh=False, transient=True) as live:
            for seconds in pauses():
                if status.over:
                    break
                pause(seconds)
                status = look()
                live.update(drawn(status), refresh=True)
    except KeyboardInterrupt:
        say("no longer watching; the run goes on")
    return status


def _tell_changes(look: Callable[[], RunStatus], pause: Callable[[float], None]) -> RunStatus:
    told: dict[str, str] = {}
    status = look()
    try:
        for seconds in pauses():
            for step in status.steps:
                if told.get(step.name) != _gist(step.words):
                    told[step.name] = _gist(step.words)
                    say(f"{clock(status.time)} {step.name}: {step_line(step)}")
            if status.over:
                break
            pause(seconds)
            status = look()
    except KeyboardInterrupt:
        say("no longer watching; the run goes on")
    return status


def _gist(words: str) -> str:
    """Words without what changes all the time."""
    return (
        words.partition(" for ")[0].partition(" (start")[0]
        if words.startswith(("running", "pending"))
        else words
    )


def drawn(status: RunStatus) -> Any:
    """The status as rich draws it."""
    return text_of([*as_lines(status), ("", ""), (f"{clock(status.time)} · Ctrl-C stops watching", "dim")])


def text_of(lines: list[Line]) -> Any:
    """Lines with their colours, as one rich Text; nothing in them is read as markup."""
    from rich.text import Text

    return Text("\n").join(Text(words, style=COLOURS[style]) for words, style in lines)
