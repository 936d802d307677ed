"""What a person sees of a diagnosis, as lines of text with a colour each. Pure.

Takes diagnoses and the visits that they are about, hands on lines. The surprise: health is said in a few
quiet lines, and of many nodes the same finding is said once.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from stair.cluster.hostlist import compress
from stair.doctor.finding import Diagnosis, Finding
from stair.doctor.summary import differing, summarize, traits
from stair.doctor.visit import Visit

MARKS = {"error": "✗", "unknown": "?", "warning": "!", "note": "·", "": "✓"}
STYLES = {"error": "bad", "unknown": "lost", "warning": "odd", "note": "dim", "": "good"}
LEVELS = ("error", "unknown", "warning", "note")
COUNTED = {
    "error": ("will fail", "will fail"),
    "unknown": ("could not be checked", "could not be checked"),
    "warning": ("may hurt later", "may hurt later"),
}
Line = tuple[str, str]
"""Text and its colour (console.COLOURS)."""
INDENT = " " * 9
WIDEST_CELL = 26
MANY = 12
"""From this many nodes on, those with the same row share one."""
SHOWN_SEEN = 3


def as_lines(
    diagnoses: Sequence[Diagnosis], visits: Sequence[Visit], checks: int, columns: int
) -> list[Line]:
    """The whole answer."""
    columns = max(40, min(columns, 120))
    many = len(visits) > 1
    return list(_of_many(diagnoses, visits, columns) if many else _of_one(diagnoses, visits, checks, columns))


def _of_one(
    diagnoses: Sequence[Diagnosis], visits: Sequence[Visit], checks: int, columns: int
) -> Iterator[Line]:
    serious = [each for each in diagnoses if each.cause.level != "note"]
    if not serious:
        yield f"✓ {_names(visits)}: nothing stands against a run ({checks} checks)", "good"
    else:
        yield f"{_names(visits)}: {_count(diagnoses)}", "strong"
    for diagnosis in serious:
        yield "", ""
        yield from _whole([diagnosis], columns)
    if serious and visits:
        yield "", ""
    for visit in visits:
        yield from _summary(visit, columns, "dim" if serious else "")
    for diagnosis in diagnoses:
        if diagnosis.cause.level == "note":
            yield _cut(f"  · {diagnosis.cause.id}: {diagnosis.cause.seen}", columns), "dim"


def _of_many(diagnoses: Sequence[Diagnosis], visits: Sequence[Visit], columns: int) -> Iterator[Line]:
    worst = {visit.name: _worst(diagnoses, visit) for visit in visits}
    levels = [level for level, _ in worst.values()]
    fine = sum(level in ("", "note", "warning") for level in levels)
    words = [f"{fine} fine"] if fine else []
    words += [f"{n} {COUNTED[level][0]}" for level in ("error", "unknown") if (n := levels.count(level))]
    place = "nodes" if all(visit.role == "compute" for visit in visits) else "machines"
    warned = f"; warnings on {count}" if (count := levels.count("warning")) else ""
    yield f"{len(visits)} {place}: {', '.join(words)}{warned}", "strong" if fine < len(visits) else "good"
    common, different = differing(visits)
    if common:
        yield from _wrapped("alike  ", ", ".join(common), columns, "dim")
    yield "", ""
    yield from _table(visits, worst, different, columns)
    for group in _groups(diagnoses):
        if group[0].cause.level != "note":
            yield "", ""
            yield from _whole(group, columns)
    notes = [group for group in _groups(diagnoses) if group[0].cause.level == "note"]
    if notes:
        yield "", ""
    for group in notes:
        text = f"  · {group[0].cause.id} ({_place(group)}): {group[0].cause.seen}"
        yield _cut(text, columns), "dim"


def _table(
    visits: Sequence[Visit], worst: dict[str, tuple[str, str]], different: list[str], columns: int
) -> Iterator[Line]:
    """A row for each node: mark, name, that in which nodes differ, the first cause."""
    rows: dict[tuple[str, ...], list[Visit]] = {}
    for visit in visits:
        level, words = worst[visit.name]
        known = traits(visit) if visit.host is not None else {}
        key = (level, *(known.get(name, "-") for name in different), words)
        together = key if len(visits) >= MANY and visit.role == "compute" else (*key, visit.name)
        rows.setdefault(together, []).append(visit)
    count = len(different) + 2
    cells = [(_row_name(group), *key[1 : count - 1], key[count - 1]) for key, group in rows.items()]
    header = ("node", *different, "first cause")
    kept = _fitting([header, *cells], columns - 2)
    widths = [min(WIDEST_CELL, max(len(row[at]) for row in (header, *cells))) for at in kept]
    yield _row("  ", header, kept, widths, columns), "dim"
    for key, row in zip(rows, cells, strict=True):
        yield _row(f"{MARKS[key[0]]} ", row, kept, widths, columns), STYLES[key[0]] if key[0] else ""
    dropped = [different[at - 1] for at in range(1, count - 1) if at not in kept]
    if dropped:
        yield _cut(f"  they differ in {', '.join(dropped)} too (--json)", columns), "dim"


def _fitting(rows: Sequence[tuple[str, ...]], columns: int) -> list[int]:
    """Which columns are shown: name and first cause always, of the others as many as there is room for."""
    last = len(rows[0]) - 1
    wide = [min(WIDEST_CELL, max(len(row[at]) for row in rows)) + 2 for at in range(last)]
    kept, left = [0], columns - wide[0] - WIDEST_CELL
    for at in range(1, last):
        if wide[at] <= left:
            kept.append(at)
            left -= wide[at]
    return [*kept, last]


def _row(mark: str, row: tuple[str, ...], kept: list[int], widths: list[int], columns: int) -> str:
    cells = [f"{_cut(row[at], wide):<{wide}}" for at, wide in zip(kept[:-1], widths, strict=False)]
    return _cut(mark + "  ".join([*cells, row[kept[-1]]]).rstrip(), columns)


def _row_name(group: Sequence[Visit]) -> str:
    name = compress(visit.name for visit in group)
    return f"{name} ({group[0].role})" if group[0].role != "compute" else name


def _worst(diagnoses: Sequence[Diagnosis], visit: Visit) -> tuple[str, str]:
    """The level of a node's first cause, and what is said of it in the table."""
    mine = [each for each in diagnoses if node_of(each.cause, [visit]) is not None]
    for level in LEVELS[:-1]:
        found = [each for each in mine if each.cause.level == level]
        if not found:
            continue
        if visit.missing.get("node"):
            return level, f"no data: {visit.missing['node']}"
        more = sum(each.cause.level in ("error", "unknown") for each in mine) - 1
        side = " in the image" if found[0].cause.place.startswith("image") else ""
        return level, f"{found[0].cause.id}{side}" + (f" and {more} more" if more > 0 else "")
    return "", ""


def node_of(finding: Finding, visits: Sequence[Visit]) -> Visit | None:
    """The visit that a finding is about."""
    name = finding.place.removeprefix("image").removeprefix(" on ")
    for visit in visits:
        if name == ("" if visit.role == "here" else visit.name):
            return visit
    return None


def _groups(diagnoses: Sequence[Diagnosis]) -> list[list[Diagnosis]]:
    """Those that say the same of different nodes, together; in the order of the first of them."""
    groups: dict[tuple[object, ...], list[Diagnosis]] = {}
    for diagnosis in diagnoses:
        cause = diagnosis.cause
        below = tuple(dict.fromkeys(each.id for each in diagnosis.consequences))
        said = (_nameless(cause.cure, cause), _nameless(cause.command, cause))
        key = (cause.id, cause.level, cause.place.startswith("image"), *said, below)
        groups.setdefault(key, []).append(diagnosis)
    return list(groups.values())


def _whole(group: Sequence[Diagnosis], columns: int) -> Iterator[Line]:
    """All there is to say of one cause, or of the same cause on many nodes."""
    cause = group[0].cause
    where = _place(group)
    yield f"{MARKS[cause.level]} {cause.id}" + (f" · {where}" if where else ""), STYLES[cause.level]
    seen = list(dict.fromkeys(_nameless(each.cause.seen, each.cause) for each in group))
    if len(seen) == 1:
        yield from _wrapped("seen   ", cause.seen if len(group) == 1 else seen[0], columns)
    else:
        for number, each in enumerate(group[:SHOWN_SEEN]):
            name = each.cause.place.removeprefix("image on ")
            yield from _wrapped("seen   " if not number else "       ", f"{name}: {each.cause.seen}", columns)
        if len(group) > SHOWN_SEEN:
            yield f"{INDENT}and {len(group) - SHOWN_SEEN} more like these (--json)", "dim"
    for label, text in (("means  ", cause.means), ("cure   ", cause.cure)):
        if text:
            yield from _wrapped(label, text, columns)
    for number, line in enumerate(cause.command.splitlines()):
        label = "cure   " if not cause.cure and not number else "       "
        yield f"  {label}$ {line}", "strong"
    below = {each.id: each for diagnosis in group for each in reversed(diagnosis.consequences)}
    ids = list(dict.fromkeys(each.id for diagnosis in group for each in diagnosis.consequences))
    for number, id in enumerate(ids):
        label = "hence  " if not number else "       "
        yield _cut(f"  {label}{MARKS[below[id].level]} {id}: {below[id].seen}", columns), "dim"


def _summary(visit: Visit, columns: int, style: str) -> Iterator[Line]:
    for name, value in summarize(visit).items():
        yield from _wrapped(f"{name:<9} ", value, columns, style)


def _wrapped(label: str, text: str, columns: int, style: str = "") -> Iterator[Line]:
    first = f"  {label}"
    rest = " " * len(first)
    lines = [
        line
        for part in text.splitlines()
        for line in textwrap.wrap(part, columns - len(rest), break_long_words=False, break_on_hyphens=False)
    ] or [""]
    for number, line in enumerate(lines):
        yield f"{rest if number else first}{line}", style


def _cut(text: str, columns: int) -> str:
    text = " ".join(text.split("\n"))
    return text if len(text) <= columns else text[: columns - 1] + "…"


def _place(group: Sequence[Diagnosis]) -> str:
    places = [each.cause.place for each in group]
    image = places[0].startswith("image")
    nodes = compress(name for place in places if (name := place.removeprefix("image").removeprefix(" on ")))
    return " on ".join(filter(None, ("image" if image else "", nodes)))


def _nameless(text: str, finding: Finding) -> str:
    """Without the node's own name, so that the same is said of many nodes in the same words."""
    name = finding.place.removeprefix("image").removeprefix(" on ")
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "NODE", text) if name else text


def _names(visits: Sequence[Visit]) -> str:
    return compress(visit.name for visit in visits) or "nothing was looked at"


def _count(diagnoses: Sequence[Diagnosis]) -> str:
    words = []
    for level, (one, more) in COUNTED.items():
        count = sum(each.cause.level == level for each in diagnoses)
        if count:
            words.append(f"{count} {'thing' if count == 1 else 'things'} {one if count == 1 else more}")
    follow = sum(len(each.consequences) for each in diagnoses if each.cause.level in ("error", "unknown"))
    if not follow:
        return ", ".join(words)
    causes = sum(each.cause.level in ("error", "unknown") for each in diagnoses)
    verb = "follows" if follow == 1 else "follow"
    return f"{', '.join(words)}; {follow} more {verb} from {'it' if causes == 1 else 'them'}"
