"""What is to be built: an Order becomes the arguments, labels and needs of a build.

Pure: nothing here looks at the machine. The surprise: both variants come from one definition file and
differ only in what stands here and in their locks.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve().parent
SUITE = "bookworm"
"""The Debian release whose own Python is 3.11, which the locks are for."""

Variant = Literal["cuda", "cpu"]
Attention = Literal["none", "flash-attn", "xformers"]

PACKAGES: dict[str, tuple[str, ...]] = {
    "cpu": ("ca-certificates", "python3", "python3-venv"),
    # torchcodec decodes with Debian's FFmpeg and is linked against libpython, which python3 does not pull in
    "cuda": ("ca-certificates", "ffmpeg", "libpython3.11", "python3", "python3-venv"),
}
SQUASH = {
    # 8.4 GB of the CUDA variant: zstd-3 takes 37 s and 4,400 MB, gzip-9 took 733 s and 4,384 MB
    "zstd": "-comp zstd -Xcompression-level 3",
    "gzip": "-comp gzip -Xcompression-level 6",  # the cpu variant: 421 MB against 430, 50 s more of CPU time
}


@dataclass(frozen=True)
class Space:
    """Peak need of a build in GB (1e9 bytes): what README.md says was measured, and a tenth to spare."""

    work: float
    """Where Apptainer unpacks and squashes."""
    target: float
    """Beside the finished image."""
    base: float
    """A base tree that has to be made first, and the copy that mmdebstrap works in."""


SPACE = {"cpu": Space(work=2.0, target=0.5, base=0.5), "cuda": Space(work=13.4, target=4.9, base=1.5)}


@dataclass(frozen=True)
class Order:
    """What a person asked for on the command line."""

    variant: Variant = "cuda"
    base: Literal["registry", "debian"] = "registry"
    source_image: str = f"debian:{SUITE}-slim"
    """What the base `registry` pulls."""
    compression: Literal["zstd", "gzip"] = "zstd"
    attention: Attention = "none"
    output: Path = Path("build/stair-train-cuda.sif")
    force: bool = False

    @property
    def lock(self) -> Path:
        return HERE / "locks" / f"train-{self.variant}.lock"

    @property
    def attention_lock(self) -> Path:
        return HERE / "locks" / f"attention-{self.attention}.lock"


@dataclass(frozen=True)
class Origin:
    """Which code is baked in, and when."""

    version: str
    commit: str
    """With `-dirty` when the checkout differs from it; `unknown` outside of a checkout."""
    date: str
    """ISO 8601 in UTC, of SOURCE_DATE_EPOCH where that is set."""


def build_arguments(order: Order, origin: Origin, *, bootstrap: str, base: str) -> dict[str, str]:
    """Every argument of train.def. What is copied lies beside it under fixed names, so that neither the
    definition kept in the image nor its labels name a path of the machine that built it."""
    return {
        "bootstrap": bootstrap,
        "from": base,
        "packages": " ".join(PACKAGES[order.variant]),
        "attention": order.attention,
        "variant": order.variant,
        "version": origin.version,
        "commit": origin.commit,
        "lock_sha256": lock_digest(order),
        "date": origin.date,
    }


def lock_digest(order: Order) -> str:
    """sha256 over everything that pip is told to install."""
    return hashlib.sha256(order.lock.read_bytes() + order.attention_lock.read_bytes()).hexdigest()


def lock_pins(text: str) -> dict[str, str]:
    """Name → version of every pinned package of a lock."""
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, flags=re.MULTILINE))


def check_lock(text: str) -> list[str]:
    """What is wrong with a lock: an unpinned or unhashed package, an index, a local path."""
    problems = []
    for entry in _entries(text):
        name = entry.split()[0]
        if not re.match(r"[A-Za-z0-9_.-]+==[^\s;]+(\s|$)", entry):
            problems.append(f"'{name}' is no pinned package")
        elif not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry):
            problems.append(f"'{name}' has no sha256")
        if "://" in entry or re.search(r"(^|\s)\.{0,2}/", entry):
            problems.append(f"'{name}' names a place: packages are found by pip's own configuration")
    return problems


def _entries(text: str) -> list[str]:
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [entry.strip() for entry in bare.replace("\\\n", " ").splitlines() if entry.strip()]
