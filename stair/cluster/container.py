"""An argv becomes the argv that runs the same inside an image.

Without an image it is the identity. Nothing is looked up here: what is bound and which variables pass the
wall stands in the profile. Two surprises, both measured with Apptainer 1.4.5: it hands every variable's value
to a shell unless told `--no-eval`, and `--bind` and `--env` cut at commas and colons; so folders are bound by
`--mount`, which can quote, and variables reach the inside through APPTAINERENV_NAME, off argv.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stair.errors import UsageError
from stair.frozen import frozen

RUNTIME = "apptainer"
START = (RUNTIME, "exec", "--cleanenv", "--no-eval", "--no-home")
INSIDE = "APPTAINERENV_"
"""Apptainer sets NAME inside to the value of INSIDE + NAME outside, even with `--cleanenv`."""
OUTSIDE = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TERM", "TMPDIR"),
    *("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"),
    *("APPTAINER_CACHEDIR", "APPTAINER_TMPDIR", "APPTAINER_CONFIGDIR"),
)
"""What Apptainer itself may need of the host; none of it is visible inside."""


@frozen
class Bind:
    """A folder of the host and where it is seen inside; the same place if that is empty."""

    host: str
    inside: str = ""
    read_only: bool = False

    def words(self) -> tuple[str, str]:
        """For Apptainer's command line. Raises UsageError for a path that it cannot be told."""
        inside = self.inside or self.host
        for path in (self.host, inside):
            if not path.startswith("/") or "\r" in path or not _is_text(path):
                raise UsageError(
                    f"{path!r} cannot be bound into an image",
                    hint="absolute paths in UTF-8, without carriage returns",
                )
        fields = [_quoted(f"source={self.host}"), _quoted(f"destination={inside}")]
        return "--mount", ",".join(["type=bind", *fields, *(["ro"] if self.read_only else [])])


@frozen
class ContainerConfig:
    """The images that steps run in, and what they see of the host."""

    train_image: str = ""
    """Path of the SIF for collecting, training and serving; empty runs on the host."""
    eval_image: str = ""
    """The same for simulators and reports."""
    binds: tuple[str, ...] = ()
    """HOST or HOST:INSIDE[:ro], besides the run folder and the working folder; absolute paths."""
    keep: tuple[str, ...] = (
        "CUDA_VISIBLE_DEVICES",
        "MASTER_ADDR",
        "MASTER_PORT",
        "NCCL_DEBUG",
        "NCCL_SOCKET_IFNAME",
        "GLOO_SOCKET_IFNAME",
        "WANDB_MODE",
    )
    """Names of host variables that reach the inside, where they are set."""

    @property
    def images(self) -> tuple[str, ...]:
        """The images that are named, each once."""
        return tuple(dict.fromkeys(image for image in (self.train_image, self.eval_image) if image))


def in_container(
    argv: Sequence[str],
    image: str,
    container: ContainerConfig,
    *,
    folders: Sequence[str | Bind] = (),
    environment: Mapping[str, str] | None = None,
    gpus: bool = False,
) -> tuple[str, ...]:
    """The argv to start on the host, with the variables of `runtime_environment`.

    `folders` are bound besides the profile's own, each place inside once, the first one wins. `environment`
    is only checked here. `--nv` is given only with `gpus`: without any it injects the host's libGL. The
    host's /dev, /tmp and /dev/shm stay visible, for InfiniBand and shared memory (`--contain` hides the one
    and gives the others 64 MB where an administrator left it so); its home does not. What `--nv` forgets of
    a driver is known only on the node that has it: `with_drivers` adds it there.

    Raises UsageError for what Apptainer cannot be told: see `Bind.words` and `refuse_variables`.
    """
    if not image:
        return tuple(argv)
    refuse_variables(environment or {})
    for word in argv:
        if not _is_text(word):
            raise UsageError(f"{word!r} cannot be said to a program in an image", hint="UTF-8 without NUL")
    words = [*START, *(["--nv"] if gpus else [])]
    binds = [bind if isinstance(bind, Bind) else read_bind(bind) for bind in (*folders, *container.binds)]
    placed: dict[str, Bind] = {}
    for bind in binds:
        placed.setdefault(bind.inside or bind.host, bind)
    for bind in placed.values():
        words += bind.words()
    return (*words, image, *argv)


def with_drivers(
    argv: Sequence[str], environment: Mapping[str, str], binds: Sequence[Bind], variables: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The argv and all variables of a start with `--nv`, with what its node's driver needs (graphics.py).

    What is there already wins: a bind of the profile at the same place inside, a variable of the step.
    LD_LIBRARY_PATH is a list, ours comes behind the step's.
    """
    words = [word for bind in binds for word in bind.words() if not _is_taken(bind, argv)]
    inside = {INSIDE + name: value for name, value in variables.items()}
    path = f"{INSIDE}LD_LIBRARY_PATH"
    if path in inside and environment.get(path):
        inside[path] = f"{environment[path]}:{inside[path]}"
        environment = {name: value for name, value in environment.items() if name != path}
    after = len(START) + 1
    return (*argv[:after], *words, *argv[after:]), inside | dict(environment)


def read_bind(text: str) -> Bind:
    """Reads HOST, HOST:INSIDE or HOST:INSIDE:ro. A colon belongs to a path unless a slash follows it.

    Raises UsageError for anything else.
    """
    match = re.fullmatch(r"(/.*?)(?::(/.*?))?(?::(ro|rw))?", text, re.DOTALL)
    if not match:
        raise UsageError(f"'{text}' is no bind", hint="HOST, HOST:INSIDE or HOST:INSIDE:ro, absolute paths")
    return Bind(match[1], match[2] or "", match[3] == "ro")


def runs_inside(argv: Sequence[str]) -> bool:
    """Whether an argv of ours starts an image."""
    return tuple(argv[:2]) == (RUNTIME, "exec")


def gets_gpus(argv: Sequence[str]) -> bool:
    """Whether an argv of ours starts an image with `--nv`."""
    return tuple(argv[: len(START) + 1]) == (*START, "--nv")


def runtime_environment(
    host: Mapping[str, str], keep: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """All variables of the process that starts an image: few for Apptainer itself, and for the inside
    those of `keep` that the host has and `environment`. The rest of the host's stays out of /proc too.

    Raises UsageError like `refuse_variables`.
    """
    inside = {name: host[name] for name in keep if name in host} | dict(environment)
    refuse_variables(inside)
    outside = {name: host[name] for name in OUTSIDE if name in host}
    return outside | {INSIDE + name: value for name, value in inside.items()}


def refuse_variables(environment: Mapping[str, str]) -> None:
    """Raises UsageError for variables that cannot be set inside, without telling their values."""
    for name, value in environment.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name == "HOME":
            raise UsageError(f"variable {name!r} cannot be set inside an image", hint="another name")
        if "\r\n" in value or not _is_text(value):
            raise UsageError(
                f"the value of {name} cannot be passed into an image",
                hint="text in UTF-8, with line ends of Unix and without NUL",
            )


def _is_taken(bind: Bind, argv: Sequence[str]) -> bool:
    """Whether another bind of an argv has its place inside: Apptainer takes the first one and warns."""
    place = _quoted(f"destination={bind.inside or bind.host}")
    return any(word.startswith("type=bind,") and place in word for word in argv)


def _is_text(value: str) -> bool:
    """Whether Apptainer hands it on unchanged: Go replaces what is no UTF-8, and nothing passes a NUL."""
    return "\0" not in value and not re.search("[\ud800-\udfff]", value)


def _quoted(field: str) -> str:
    """A field of a CSV line: Apptainer reads --mount with Go's encoding/csv."""
    return '"' + field.replace('"', '""') + '"'
