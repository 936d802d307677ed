"""The filmed episodes of an evaluation on the page: failures first, each film with its action plot.

Takes records and where their films lie, hands on markup. Films and plots are embedded while they are small
and the page has room for them; past that a link beside the page stands in.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from stair.evaluate.episodes import EpisodeRecord

FILM_BYTES = 2**20
"""A film above this size is not embedded."""
PAGE_BYTES = 16 * 2**20
"""All embedded films together."""
PICTURE_BYTES = 2**20
"""All embedded action plots together: without its films the page stays below two megabytes."""
MOST_PLAYING = 12
"""More films than this wait for a click; so many at once would keep a browser busy."""

ORDER = ("failure", "ever", "error", "success")
HEADINGS = {
    "failure": "failed",
    "ever": "succeeded, then lost it before the last step",
    "error": "ended in an error",
    "success": "succeeded",
}


class Budget:
    """Hands out bytes of the page until they are spent."""

    def __init__(self, left: int) -> None:
        self.left = left

    def embed(self, path: Path, kind: str) -> str | None:
        """The file as a data address, or None when it is missing or too large."""
        try:
            size = path.stat().st_size
            if size > FILM_BYTES or size * 4 // 3 > self.left:
                return None
            data = base64.b64encode(path.read_bytes()).decode()
        except OSError:
            return None
        self.left -= len(data)
        return f"data:{kind};base64,{data}"


class Gallery:
    """Draws films while the page's room lasts; one for all evaluations of a page."""

    def __init__(self, root: Path) -> None:
        self.root = root
        """The reported folder, where films' paths begin."""
        self._films = Budget(PAGE_BYTES)
        self._pictures = Budget(PICTURE_BYTES)

    def draw(self, records: Sequence[EpisodeRecord]) -> str:
        """Markup of all filmed records, or nothing."""
        films = [record for record in records if record.video]
        parts = []
        for kind in ORDER:
            mine = [record for record in films if verdict(record) == kind]
            if mine:
                drawn = "".join(self._film(record, plays=len(films) <= MOST_PLAYING) for record in mine)
                parts.append(f"<h4>{len(mine)} {HEADINGS[kind]}</h4><div class='films'>{drawn}</div>")
        return f"<h3>Filmed episodes, failures first</h3>{''.join(parts)}" if parts else ""

    def _film(self, record: EpisodeRecord, *, plays: bool) -> str:
        path = self.root / record.video
        alt = escape(f"{record.key}: {record.instruction}")
        if film := self._films.embed(path, "video/mp4"):
            how = "autoplay loop muted playsinline" if plays else "muted playsinline preload='metadata'"
            shown = f'<video src="{film}" aria-label="{alt}" controls {how}></video>'
        else:
            shown = _link(record.video, "film")
        plot = Path(record.video).with_suffix(".png")
        if picture := self._pictures.embed(self.root / plot, "image/png"):
            image = f'<img src="{picture}" alt="actions of {alt}">'
            shown += f"<details><summary>actions over the steps</summary>{image}</details>"
        elif (self.root / plot).exists():
            shown += _link(str(plot), "actions over the steps")
        kind = verdict(record)
        detail = f"{record.key} · {record.steps} steps"
        if record.success_ever:
            detail += f", first held after {record.first_success}"
        return (
            f'<figure>{shown}<figcaption><span class="verdict {kind}">{_SAID[kind]}</span> · '
            f'{escape(record.instruction)}<br><span class="soft">{escape(detail)}</span>'
            "</figcaption></figure>"
        )


_SAID = {"failure": "failure", "ever": "success, then lost", "error": "error", "success": "success"}


def verdict(record: EpisodeRecord) -> str:
    """How an episode ended: success, ever (only before the last step), failure or error."""
    if record.error:
        return "error"
    return "success" if record.success else "ever" if record.success_ever else "failure"


def _link(beside: str, words: str) -> str:
    return f'<a class="beside" href="{escape(beside)}">{escape(words)}: {escape(beside)}</a>'
