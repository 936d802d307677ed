"""What the data line can be told: which data sets, and what a model is fed from them.

`InputConfig` travels with a saved model, because serving must prepare images, words and actions exactly
as training did. `DataConfig` stays with the run. Torch-free, looks at no disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stair.errors import UsageError


@dataclass(frozen=True)
class ImageConfig:
    """The present camera image, as the vision towers see it."""

    size: int = 224
    """Side in pixels after a plain resize; the aspect ratio is not kept (OpenVLA's resize-naive)."""
    resize: Literal["lanczos", "bicubic"] = "lanczos"
    """PIL LANCZOS matches what OpenVLA was trained on; bicubic is faster and differs slightly."""


@dataclass(frozen=True)
class ClipConfig:
    """The short video around the present step, seen by the dynamic encoder in training only."""

    frames: int = 5
    preset: Literal["centered", "future"] = "centered"
    """centered: t-delta*stride ... t+delta*stride. future: t, t+stride, ... t+(frames-1)*stride."""
    delta: int = 2
    stride: int = 4
    image_size: int = 256
    offsets: tuple[int, ...] | None = None
    """Explicit steps relative to the present one; wins over the preset."""


@dataclass(frozen=True)
class LanguageConfig:
    """How an instruction becomes token ids."""

    tokenizer: str = "words"
    """`words`: hashed words, no files needed. Otherwise the folder of a Llama tokenizer."""
    vocabulary: int = 1024
    """Rows of the embedding that hashed words fall into; a real tokenizer brings its own."""
    template: str = "In: What action should the robot take to {instruction}?\nOut:"
    max_tokens: int = 2048


@dataclass(frozen=True)
class ActionConfig:
    """The action chunk: 7 dimensions are dxyz (m), drpy (rad), gripper (1 = open)."""

    dim: int = 7
    chunk: int = 16


@dataclass(frozen=True)
class InputConfig:
    """All of what a model is fed and gives; saved beside its weights."""

    image: ImageConfig = field(default_factory=ImageConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    action: ActionConfig = field(default_factory=ActionConfig)


@dataclass(frozen=True)
class AugmentConfig:
    """Changes to training samples; the same for the image and every frame of its clip."""

    shift: float = 0.0
    """Largest random shift, as a share of the side; edges are repeated."""
    mirror: bool = False
    """Half of the samples flipped left to right, lateral action and proprio signs with them.
    Only for scenes that are symmetric and words that do not say left or right."""
    brightness: float = 0.0
    contrast: float = 0.0


@dataclass(frozen=True)
class DataConfig:
    """Where training samples come from and in which order."""

    root: str = "data"
    """Folder that holds DATASET/VERSION folders."""
    mixture: str = "tabletop"
    """A name of data/mixtures.py, or the name of one data set."""
    split: str = "train"
    held_out: float = 0.0
    """Share of the episodes kept out of training, for the held-out metrics."""
    batch_size: int = 256
    """Samples of one optimiser step, over all processes and accumulation steps."""
    workers: int = 1
    """Reader processes per training process; 0 reads in the training process itself."""
    seed: int = 0
    skip_corrupt: bool = False
    """Go on past broken records, counting them, where the default is to stop and name the place."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def clip_offsets(clip: ClipConfig) -> tuple[int, ...]:
    """The clip's steps relative to the present one, e.g. (-8, -4, 0, 4, 8).

    Raises UsageError when the number of frames does not fit: centred clips have 2*delta+1.
    """
    if clip.offsets is not None:
        if len(clip.offsets) != clip.frames:
            raise UsageError(f"clip.offsets has {len(clip.offsets)} steps, clip.frames is {clip.frames}")
        return clip.offsets
    if clip.preset == "future":
        return tuple(clip.stride * k for k in range(clip.frames))
    if clip.frames != 2 * clip.delta + 1:
        raise UsageError(
            f"a centred clip with delta {clip.delta} has {2 * clip.delta + 1} frames, not {clip.frames}",
            hint=f"clip.frames {2 * clip.delta + 1}, or name clip.offsets",
        )
    return tuple(clip.stride * (k - clip.delta) for k in range(clip.frames))
