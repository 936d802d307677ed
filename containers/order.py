"""What is to be built: an Order becomes the arguments, labels and needs of a build.

Pure: nothing here looks at the machine. The surprise: the variants of an image come from one definition
file and differ only in what stands here and in their locks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from containers.base import Debian

HERE = Path(__file__).resolve().parent

Kind = Literal["train", "eval"]
Variant = Literal["cuda", "cpu", "full", "ms3"]
Attention = Literal["none", "flash-attn", "xformers"]

VARIANTS: dict[Kind, tuple[Variant, ...]] = {"train": ("cuda", "cpu"), "eval": ("full", "ms3")}
"""What there is of each image; the first one is made when nothing is said."""
ENVIRONMENTS: dict[Variant, tuple[str, ...]] = {"full": ("ms3", "sapien2"), "ms3": ("ms3",)}
"""The Python environments of an evaluation image."""

_TRAIN = ("ca-certificates", "python3", "python3-venv")
_EVAL = Debian(
    "trixie",
    (
        *("ca-certificates", "python3.11", "python3-pip-whl"),
        # draws: Vulkan's loader and Mesa's driver for CPUs, and vulkaninfo to look at them
        *("libvulkan1", "mesa-vulkan-drivers", "vulkan-tools"),
        # what SAPIEN and NVIDIA's own driver libraries are linked against
        *("libegl1", "libgl1", "libglvnd0", "libx11-6", "libxext6"),
        *("libglib2.0-0t64", "libgomp1"),  # of opencv-python and torch
    ),
    also=("trixie-backports", "bookworm"),
    preferences=HERE / "eval.pref",
)
DEBIAN: dict[Variant, Debian] = {
    # bookworm's own Python is 3.11, which the locks are for
    "cpu": Debian("bookworm", _TRAIN),
    # torchcodec decodes with Debian's FFmpeg and is linked against libpython, which python3 does not pull in
    "cuda": Debian("bookworm", (*_TRAIN, "ffmpeg", "libpython3.11")),
    "full": _EVAL,
    "ms3": _EVAL,
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


SPACE: dict[Variant, Space] = {
    "cpu": Space(work=2.0, target=0.5, base=0.5),
    "cuda": Space(work=13.4, target=4.9, base=1.5),
    "full": Space(work=5.0, target=1.3, base=1.1),
    "ms3": Space(work=4.0, target=0.9, base=1.1),
}


@dataclass(frozen=True)
class Order:
    """What a person asked for on the command line."""

    variant: Variant = "cuda"
    """Says the kind too."""
    base: Literal["registry", "debian"] = "registry"
    source_image: str = ""
    """For the base `registry`; empty: Debian's own slim image."""
    compression: Literal["zstd", "gzip"] = "zstd"
    attention: Attention = "none"
    simpler_env: Path | None = None
    """A clone of SimplerEnv with its submodule, where its public repository is out of reach."""
    output: Path = Path("build/stair-train-cuda.sif")
    force: bool = False

    @property
    def kind(self) -> Kind:
        return next(kind for kind, variants in VARIANTS.items() if self.variant in variants)

    @property
    def pulled(self) -> str:
        """What the base `registry` pulls."""
        return self.source_image or f"debian:{DEBIAN[self.variant].suite}-slim"

    @property
    def file_name(self) -> str:
        """Of the image below build/."""
        return "stair-eval.sif" if self.variant == "full" else f"stair-{self.kind}-{self.variant}.sif"

    @property
    def definition(self) -> Path:
        return HERE / f"{self.kind}.def"

    @property
    def locks(self) -> dict[str, Path]:
        """Everything that pip is told to install, by the name that the definition copies."""
        folder = HERE / "locks"
        if self.kind == "train":
            return {
                "train.lock": folder / f"train-{self.variant}.lock",
                "attention.lock": folder / f"attention-{self.attention}.lock",
            }
        return {f"locks/{name}.lock": folder / f"eval-{name}.lock" for name in ENVIRONMENTS[self.variant]}

    @property
    def copies(self) -> dict[str, Path]:
        """Name beside the definition → file or folder of ours that it copies."""
        names = ["selftest.py"]
        if self.kind == "eval":
            names += ["selftest_eval.py", "eval.pref", "icd"]
        return {self.definition.name: self.definition, **self.locks, **{name: HERE / name for name in names}}


@dataclass(frozen=True)
class Origin:
    """Which code is baked in, and when."""

    version: str
    commit: str
    """With `-dirty` when the checkout differs from it; `unknown` outside of a checkout."""
    date: str
    """ISO 8601 in UTC, of SOURCE_DATE_EPOCH where that is set."""


def build_arguments(
    order: Order, origin: Origin, *, bootstrap: str, base: str, sources: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Every argument of the definition. What is copied lies beside it under fixed names, so that neither the
    definition kept in the image nor its labels name a path of the machine that built it.

    `sources` are those of fetched repositories, argument → commit or `absent`."""
    debian = DEBIAN[order.variant]
    arguments = {
        "bootstrap": bootstrap,
        "from": base,
        "packages": " ".join(debian.packages),
        "variant": order.variant,
        "version": origin.version,
        "commit": origin.commit,
        "lock_sha256": lock_digest(order),
        "date": origin.date,
    }
    if order.kind == "train":
        return {**arguments, "attention": order.attention}
    return {**arguments, "environments": " ".join(ENVIRONMENTS[order.variant]), **(sources or {})}


def lock_digest(order: Order) -> str:
    """sha256 over everything that pip is told to install."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in order.locks.values())).hexdigest()


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
