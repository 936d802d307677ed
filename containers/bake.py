"""An Order becomes an image: base tree, build, self-test, and only then its name.

Takes an Order, hands on a Baked. Everything is made in a folder of its own and beside the target under
a temporary name. The surprise: `apptainer build` throws the work away when %test fails, so it is told
not to test; the finished file is tested as jobs will use it, and kept as .failed.sif when it does not pass.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from containers import base, machine, packages, sources
from containers.order import DEBIAN, HERE, SPACE, SQUASH, Order, Origin, build_arguments, check_lock
from containers.watched import SQUASHING, run_watched, twice
from stair.cluster.digest import file_digest
from stair.console import say
from stair.errors import StairError
from stair.origin import code_state

CHECKOUT = HERE.parent
BASES = CHECKOUT / "build" / "bases"
SIMPLER = "simpler"
"""Folder of the sources that no package index has."""
UNREACHABLE = re.compile(
    r"No matching distribution|Could not find a version|Failed to establish|Name or service not known|"
    r"Temporary failure in name resolution|CERTIFICATE_VERIFY_FAILED|Read timed out|Max retries"
)


@dataclass
class Baked:
    """A finished image, and what it took."""

    image: str
    bytes: int = 0
    sha256: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage; `build ...` are parts of `build`."""
    arguments: dict[str, str] = field(default_factory=dict)
    log: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def bake(order: Order, environment: Mapping[str, str], *, tmp: Path | None = None) -> Baked:
    """Builds, tests and names the image. Raises StairError with the cause, and where the log is."""
    output = Path(os.path.abspath(order.output))
    baked = Baked(str(output), log=str(output.with_suffix(".log")))
    log = Path(baked.log)
    named = tmp or environment.get("APPTAINER_TMPDIR") or tempfile.gettempdir()
    work_root = Path(os.path.abspath(named))  # the build runs in a folder of its own
    with _stage(baked, "check"):
        apptainer = _check(order, environment, output, work_root)
        passed = packages.pass_on(packages.read_settings(machine.pip_listing()), environment)
        output.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
    with tempfile.TemporaryDirectory(
        prefix="stair-build-", dir=work_root, ignore_cleanup_errors=True
    ) as folder:
        work = Path(folder)
        bootstrap, start = "docker", order.pulled
        if order.base == "debian":
            with _stage(baked, "base"):
                tree = base.base_tree(BASES, DEBIAN[order.variant], log)
            bootstrap, start = "localimage", tree.name
            (work / start).symlink_to(tree)
        lay_beside(order, work)
        fetched = sources.none_fetched()
        if order.variant == "full":
            with _stage(baked, "sources"):
                fetched = sources.lay_sources(work / SIMPLER, order.simpler_env)
        origin = read_origin(environment)
        baked.arguments = build_arguments(order, origin, bootstrap=bootstrap, base=start, sources=fetched)
        unfinished = output.with_name(f".{output.name}.{os.getpid()}.building")
        try:
            with _stage(baked, "build"):
                _build(apptainer, order, baked, passed, environment, work, unfinished)
            with _stage(baked, "test"):
                _test(apptainer, unfinished, output, log, environment)
            os.replace(unfinished, output)
        finally:
            unfinished.unlink(missing_ok=True)
    with _stage(baked, "digest"):
        baked.bytes = output.stat().st_size
        baked.sha256 = file_digest(output)
    return baked


def lay_beside(order: Order, work: Path) -> None:
    """Puts the definition and what it copies into `work`: the package without compiled files, the locks,
    and for an evaluation image a folder that has room for SimplerEnv's sources."""
    leave_out = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(CHECKOUT / "stair", work / "stair", ignore=leave_out)
    for name, path in order.copies.items():
        (work / name).parent.mkdir(exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, work / name)
        else:
            shutil.copyfile(path, work / name)
    if order.kind == "eval":
        (work / SIMPLER).mkdir()


def read_origin(environment: Mapping[str, str]) -> Origin:
    """Version, commit and date. Raises StairError when SOURCE_DATE_EPOCH is no whole number."""
    state = code_state(CHECKOUT)
    commit = state.get("commit", "unknown") + ("-dirty" if state.get("changes_sha256") else "")
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if text and not text.isdigit():
        raise StairError(f"SOURCE_DATE_EPOCH is '{text}'", hint="seconds since 1970, a whole number")
    moment = datetime.fromtimestamp(int(text) if text else int(time.time()), timezone.utc)
    return Origin(state["version"], commit, moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _check(order: Order, environment: Mapping[str, str], output: Path, work_root: Path) -> Path:
    machine.check_processor()
    apptainer = machine.find_apptainer(environment)
    if output.exists() and not order.force:
        raise StairError(f"{output} exists already", hint="--force builds it again, or choose --output")
    for lock in order.locks.values():
        problems = check_lock(lock.read_text())
        if problems:
            raise StairError(
                f"{lock.name}: {problems[0]}", hint="make it again as containers/README.md shows"
            )
    if not work_root.is_dir():
        raise StairError(f"no folder {work_root} to work in", hint="--tmp FOLDER, or unset APPTAINER_TMPDIR")
    fresh = order.base == "debian" and not (BASES / base.tree_name(DEBIAN[order.variant])).is_dir()
    machine.check_space(
        SPACE[order.variant], work=work_root, target=output.parent, bases=BASES if fresh else None
    )
    return apptainer


def _build(
    apptainer: Path,
    order: Order,
    baked: Baked,
    passed: packages.Passed,
    environment: Mapping[str, str],
    work: Path,
    image: Path,
) -> None:
    words = [str(apptainer), "build", "--notest", "--force"]
    if machine.needs_fakeroot(os.getuid(), machine.effective_capabilities()):
        words.append("--fakeroot")
    words += ["--mksquashfs-args", SQUASH[order.compression], *packages.lay_out(passed, work / "mnt")]
    for name, value in baked.arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    # A site's default binds name folders that a base does not have, which ends a build.
    inherited = {k: v for k, v in environment.items() if k not in ("APPTAINER_BIND", "APPTAINER_BINDPATH")}
    variables = {**inherited, **packages.build_variables(environment), "APPTAINER_TMPDIR": str(work)}
    log = Path(baked.log)
    status = _run([*words, str(image), order.definition.name], variables, baked, work)
    if status:
        text = log.read_text(errors="replace")
        raise StairError(
            f"the build ended with {status}:\n{_last_lines(text.splitlines())}",
            hint=f"{likely_cure(text, order, passed)}the log is {log}",
        )


def likely_cure(text: str, order: Order, passed: packages.Passed) -> str:
    """What to try after a failed build, from what its log says; empty when it says nothing known."""
    if "No space left on device" in text:
        return "a file system is full: --tmp FOLDER on a larger one; "
    if "conveyor failed" in text and order.base == "registry":
        return f"{order.pulled} could not be pulled: --base debian needs only a Debian mirror; "
    if UNREACHABLE.search(text):
        return f"pip was given this, is some of it unreachable from here?\n{passed.shown}"
    return ""


def _test(apptainer: Path, unfinished: Path, output: Path, log: Path, environment: Mapping[str, str]) -> None:
    words = [str(apptainer), "test", "--containall", "--cleanenv", str(unfinished)]
    said: list[str] = []
    status = run_watched(words, log=log, environment=environment, heard=said.append)[0]
    if status:
        failed = output.with_suffix(".failed.sif")
        os.replace(unfinished, failed)
        raise StairError(
            f"the image's self-test failed:\n{_last_lines(said)}",
            hint=f"it is kept as {failed} to look into; the log is {log}",
        )
    say("  " + ([line for line in said if line.strip()] or ["passed"])[-1].strip())


def _run(words: Sequence[str], variables: Mapping[str, str], baked: Baked, work: Path) -> int:
    """Runs a build in `work`; everything it says goes into the log, the ends of its steps are shown."""

    def heard(line: str) -> None:
        if match := re.match(r"STEP (\w+) (\d+)$", line):
            baked.seconds[f"build {match[1]}"] = float(match[2])
            say(f"  {match[1]} {match[2]} s")
        elif SQUASHING in line:
            say("  squashing")

    log = Path(baked.log)
    return twice(lambda: run_watched(words, log=log, environment=variables, cwd=work, heard=heard))[0]


def _last_lines(lines: Sequence[str], count: int = 6) -> str:
    return "\n".join(f"    {line}" for line in [line for line in lines if line.strip()][-count:])


@contextmanager
def _stage(baked: Baked, name: str) -> Iterator[None]:
    started = time.monotonic()
    say(f"{name} ...")
    yield
    baked.seconds[name] = round(time.monotonic() - started, 1)
    say(f"{name} done, {baked.seconds[name]} s")
