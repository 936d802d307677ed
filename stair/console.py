"""The one place that prints: tables, panels and progress for people, on stderr or stdout.

Results go to stdout, progress and errors to stderr, so that `--json` output can be piped. Rich is
imported only when something is drawn: `--help` must not wait for it. Where the locale has no Unicode, its
signs are said in ASCII.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from stair.errors import StairError

SIGNS = {
    "✓": "+",
    "✗": "x",
    "×": "x",
    "·": "-",
    "→": "->",
    "↔": "<->",
    "…": "...",
    "≥": ">=",
    "±": "+-",
    "–": "-",
}
ASCII = str.maketrans(SIGNS)
COLOURS = {"bad": "31;1", "good": "32", "odd": "33", "lost": "35", "strong": "1", "dim": "2", "": ""}


def say(text: str) -> None:
    """Prints one line for people on stderr."""
    print(_sayable(text, sys.stderr), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Prints a result on stdout."""
    print(_sayable(text, sys.stdout), flush=True)


def paint(text: str, colour: str) -> str:
    """The text in a colour of COLOURS, if stdout is a terminal that may be coloured (NO_COLOR is not set)."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not text or not COLOURS[colour] else f"\033[{COLOURS[colour]}m{text}\033[0m"


def width() -> int:
    """Columns of the terminal, or COLUMNS; 100 for a pipe."""
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


def _sayable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(ASCII).encode(encoding, "replace").decode(encoding)
    return text


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Draws a table on stdout; cells are shown by `str`, never parsed as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def run_command(main: Callable[[], int | None]) -> int:
    """Calls a command's `main` and maps expected failures to two lines and an exit code."""
    try:
        return main() or 0
    except StairError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


class Progress:
    """A progress line: redrawn in place on a terminal, a line every `every_s` seconds in a log."""

    def __init__(self, name: str, total: int, *, every_s: float = 10.0) -> None:
        self.name, self.total, self.every_s = name, total, every_s
        self.live = sys.stderr.isatty()
        self.started = time.monotonic()
        self.first = 0
        self.last_shown = 0.0

    def resume_at(self, done: int) -> None:
        """Tells that the first `done` units were finished earlier, so that the estimate is true."""
        self.first = done

    def update(self, done: int, note: str = "") -> None:
        """Shows that `done` of the total is finished, if it is time to show anything."""
        now = time.monotonic()
        finished = done >= self.total
        wait_s = 0.2 if self.live else self.every_s
        if now - self.last_shown < wait_s and not finished:
            return
        self.last_shown = now
        elapsed = now - self.started
        fresh = max(1, done - self.first)
        left = (self.total - done) * elapsed / fresh
        line = f"{self.name} {done}/{self.total} · {elapsed:.0f} s, {left:.0f} s left"
        line = f"{line} · {note}" if note else line
        if self.live:
            sys.stderr.write(f"\r\033[K{line}" + ("\n" if finished else ""))
            sys.stderr.flush()
        else:
            say(line)
