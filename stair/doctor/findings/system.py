"""Whether the sheet itself can be judged, and whether the operating system and its Python will do.

The surprise: a section whose probe did not come back is one `unknown` finding here, named after the
section, so that no other check has to say that it knows nothing. NVML, CUDA and all of Vulkan say it
themselves: there a probe that hangs is a diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.purpose import numbers
from stair.doctor.sheet import asked, failed, section, timed_out

PROBE = 2
"""The sheets that are understood."""
PYTHONS = ((3, 10), (3, 12))
"""The oldest and the newest Python that STAIR runs on, as in pyproject.toml."""
OLDEST_GLIBC = (2, 28)
"""What the wheels of torch and SAPIEN 3 are built for (manylinux_2_28)."""
SECTIONS = (
    "system", "python", "cpu", "memory", "shm", "limits", "disks", "network", "driver", "apptainer", "slurm"
)  # fmt: skip


def _sheet(facts: Facts) -> Iterator[Finding]:
    version = facts.get("probe")
    if version == PROBE:
        return
    if facts.get("missing"):
        seen = f"no fact sheet came back: {facts['missing']}"
    elif version is None:
        seen = "the fact sheet is empty: no probe came back"
    else:
        seen = f"the fact sheet is of version {version}, version {PROBE} is understood"
    silent_node = facts.get("missing") and facts.get("role") == "compute" and facts.get("side") == "host"
    yield Finding(
        "probe.sheet",
        "unknown",
        seen,
        "nothing can be said about this place; it is not healthy by having no findings",
        "see what Slurm says of the node"
        if silent_node
        else "run the probe of this checkout there and look at what it prints",
        "sinfo --list-reasons --long" if silent_node else "python3 stair/doctor/probe.py",
    )


def _no_answer(name: str) -> Callable[[Facts], Iterator[Finding]]:
    def judge(facts: Facts) -> Iterator[Finding]:
        what = failed(facts, name)
        if what:
            hangs = timed_out(facts, name)
            yield Finding(
                f"{name}.no-answer",
                "unknown",
                f"the probe of '{name}' did not come back: {what}",
                "something it looks at hangs, such as a dead network file system"
                if hangs
                else "what it looks at could not be read",
                "run it alone, with more time",
                f"python3 stair/doctor/probe.py --timeout 60 --only {name}",
            )

    return judge


def _python(facts: Facts) -> Iterator[Finding]:
    python = section(facts, "python")
    version = tuple(python.get("version") or ())[:3]
    oldest, newest = PYTHONS
    if not version or oldest <= version[:2] <= newest:
        return
    seen = f"Python {_dots(version)} at {python.get('executable') or '?'}"
    means = f"STAIR runs on Python {_dots(oldest)} to {_dots(newest)}; older ones end in a SyntaxError"
    bare = facts.get("role") == "compute" and facts.get("side") == "host"
    level = "note" if bare and (facts.get("image_file") or not facts.get("request")) else "error"
    if bare:
        means += "; on a node it matters only for steps that run without an image"
    yield Finding(
        "python.version",
        level,
        seen,
        means,
        "give STAIR an environment of its own with a Python in that range",
        "python3.11 -m venv .venv && .venv/bin/pip install -e .",
    )


def _libc(facts: Facts) -> Iterator[Finding]:
    libc = str(section(facts, "system").get("libc") or "")
    name, _, version = libc.partition(" ")
    if not libc or (name == "glibc" and numbers(version) >= OLDEST_GLIBC):
        return
    yield Finding(
        "system.libc",
        "note" if facts.get("image_file") or not asked(facts, "kind") else "warning",
        f"the C library is {libc}",
        f"wheels of torch and SAPIEN need glibc {_dots(OLDEST_GLIBC)}: without an image, 'version "
        "`GLIBC_2.28' not found' or 'no matching distribution'",
        "run steps in an image, which brings its own C library",
    )


def _dots(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


CHECKS = (
    Check(
        "probe.sheet",
        "the fact sheet is there and of a version that is understood",
        _sheet,
        because=("apptainer.", "image."),
    ),
    *(
        Check(f"{name}.no-answer", f"the facts about '{name}' could be found out", _no_answer(name))
        for name in SECTIONS
    ),
    Check("python.version", f"Python {_dots(PYTHONS[0])} to {_dots(PYTHONS[1])}", _python),
    Check("system.libc", "the C library is new enough for wheels", _libc, where="host"),
)
