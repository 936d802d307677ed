"""What the data line can be told: which data sets, and what a model is fed from them.

`InputConfig` travels with a saved model, because serving must prepare images, words and actions exactly
as training did. `DataConfig` stays with the run. Torch-free, looks at no disk.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from stair.errors import UsageError
from stair.frozen import frozen


@frozen
class ImageConfig:
    """The present camera image, as the vision towers see it."""

    size: int = 224
    """Side in pixels after a plain resize; the aspect ratio is not kept (OpenVLA's resize-naive)."""
    resize: Literal["lanczos", "bicubic"] = "lanczos"
    """PIL LANCZOS matches what OpenVLA was trained on; bicubic is faster and differs slightly."""
    crop: float = 1.0
    """Share of the area, in the middle, that is seen wherever nothing is drawn at random: when serving and
    on held-out data. A model trained under `data.augment.crop` 0.9 needs 0.9 here; it travels with it."""


@frozen
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
    strides: dict[str, int] = field(default_factory=dict)
    """Other strides by data set: {fractal20220817_data: 2} spans 2.7 s at 3 Hz where Bridge's 4 at 5 Hz
    spans 3.2 s. Not for explicit offsets."""


@frozen
class LanguageConfig:
    """How an instruction becomes token ids."""

    tokenizer: str = "words"
    """`words`: hashed words, no files needed. Otherwise the folder of a Llama tokenizer."""
    vocabulary: int = 1024
    """Rows of the embedding that hashed words fall into; a real tokenizer brings its own."""
    template: str = "In: What action should the robot take to {instruction}?\nOut:"
    max_tokens: int = 2048


@frozen
class ActionConfig:
    """The action chunk: 7 dimensions are dxyz (m), drpy (rad), gripper (1 = open)."""

    dim: int = 7
    chunk: int = 16


@frozen
class InputConfig:
    """All of what a model is fed and gives; saved beside its weights."""

    image: ImageConfig = field(default_factory=ImageConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    action: ActionConfig = field(default_factory=ActionConfig)


@frozen
class AugmentConfig:
    """Changes to training samples, drawn once per sample: the same for the image and every frame of its clip.

    crop 0.9, brightness 0.2, contrast 0.2, saturation 0.2, hue 0.05 are OpenVLA's `--image_aug`, applied in
    this order.
    """

    shift: float = 0.0
    """Largest random shift, as a share of the side; edges are repeated."""
    mirror: bool = False
    """Half of the samples flipped left to right, lateral action and proprio signs with them.
    Only for scenes that are symmetric and words that do not say left or right."""
    crop: float = 1.0
    """A square window with this share of the area, stretched to the whole; `inputs.image.crop` must say the
    same, so that the trained model sees as much of a picture later."""
    brightness: float = 0.0
    """Largest change, as a share of full scale, added."""
    contrast: float = 0.0
    """Largest change of the factor around each colour's mean."""
    saturation: float = 0.0
    """Largest change of the saturation's factor."""
    hue: float = 0.0
    """Largest turn of the hue, as a share of the circle."""
    clip: bool = True
    """False leaves clips as recorded: what a frozen dynamic encoder, or a cache of its tokens, expects."""

    def still(self) -> AugmentConfig:
        """The same with nothing drawn at random: for held-out data."""
        return AugmentConfig(clip=self.clip)


@frozen
class LeRobotConfig:
    """What the columns of a LeRobot data set mean, where their names do not say it; empty is: look."""

    image: str = ""
    """Feature of the primary camera, e.g. `observation.images.image_0`."""
    state: tuple[str, ...] = ()
    """Seven numbers x y z roll pitch yaw gripper, or eight with a quaternion rx ry rz rw: names of
    `observation.state`, or `FEATURE[NUMBER]`; `1-NAME` where the gripper is 1 when closed."""
    action: tuple[str, ...] = ()
    """Seven numbers dx dy dz droll dpitch dyaw gripper (1 = open), likewise of `action`."""


@frozen
class DataConfig:
    """Where training samples come from and in which order."""

    root: str = "data"
    """Folder that holds DATASET/VERSION folders."""
    mixture: str = "tabletop"
    """A name of data/mixtures.py, or the name of one data set."""
    format: Literal["auto", "rlds", "lerobot"] = "auto"
    """auto takes what lies there: ROOT/DATASET/VERSION in RLDS form, else a LeRobot folder."""
    lerobot: LeRobotConfig = field(default_factory=LeRobotConfig)
    split: str = "train"
    held_out: float = 0.0
    """Share of the episodes kept out of training, for the held-out metrics."""
    batch_size: int = 256
    """Samples of one optimiser step, over all processes and accumulation steps."""
    workers: int = 1
    """Reader processes per training process; 0 reads in the training process itself."""
    seed: int = 0
    reader: Literal["native", "tf"] = "native"
    """tf: OpenVLA's pipeline of tensorflow-datasets and tf.data, for comparison; neither resumable nor
    shuffled more than its buffer allows. Needs the extra `tf`."""
    sampling: Literal["dense", "keyframe"] = "dense"
    """dense: every step is a sample. keyframe: only steps near a gripper change or where the hand slows
    down (data/keyframes.py)."""
    balance: Literal["openvla", "starvla"] = "openvla"
    """What a mixture's weights mean: times the data sets' sizes, or shares as they stand (1 and 1 is then
    half and half, however large they are)."""
    statistics: str = "training"
    """What actions are normalised with. training: the quantiles of the episodes that are trained on.
    openvla: of all splits, validation and undescribed episodes included, from a dataset_statistics_*.json
    beside the data where its counts match. Else the path of such a file, or of the run folder it lies in:
    that of the model one starts from."""
    unwrap_rotation: bool = False
    """Take rotations the short way round. BridgeV2's differences of Euler angles jump by 2 pi where an angle
    passes pi, in the published statistics too."""
    round_gripper: bool = False
    """Gripper commands 0 or 1 everywhere: after the last decided one BridgeV2's are left as recorded."""
    skip_corrupt: bool = False
    """Go on past broken records, and episodes with NaN or unreadable words, counting them, where the default
    is to stop and name the place."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    dynamic_tokens: str = ""
    """Folder of tools/cache-dynamics: the dynamic encoder's tokens are read from it, clips not encoded."""


def clip_offsets(clip: ClipConfig, dataset: str = "") -> tuple[int, ...]:
    """The clip's steps relative to the present one, e.g. (-8, -4, 0, 4, 8), with a data set's own stride.

    Raises UsageError when the number of frames does not fit: centred clips have 2*delta+1.
    """
    if clip.offsets is not None:
        if len(clip.offsets) != clip.frames:
            raise UsageError(f"clip.offsets has {len(clip.offsets)} steps, clip.frames is {clip.frames}")
        if clip.strides:
            raise UsageError("clip.offsets and clip.strides are both given", hint="one of them")
        return clip.offsets
    stride = clip.strides.get(dataset, clip.stride)
    if clip.preset == "future":
        return tuple(stride * k for k in range(clip.frames))
    if clip.frames != 2 * clip.delta + 1:
        raise UsageError(
            f"a centred clip with delta {clip.delta} has {2 * clip.delta + 1} frames, not {clip.frames}",
            hint=f"clip.frames {2 * clip.delta + 1}, or name clip.offsets",
        )
    return tuple(stride * (k - clip.delta) for k in range(clip.frames))


def refuse_contradictions(data: DataConfig, inputs: InputConfig) -> None:
    """Raises UsageError for settings that no data could make sense of together."""
    augment = data.augment
    if not 0 <= data.held_out < 1:
        raise UsageError(f"data.held_out is {data.held_out}", hint="a share, 0 <= held_out < 1")
    for name, share in (("inputs.image.crop", inputs.image.crop), ("data.augment.crop", augment.crop)):
        if not 0 < share <= 1:
            raise UsageError(f"{name} is {share}", hint="a share of the area, e.g. 0.9; 1 crops nothing")
    if augment.crop < 1 and augment.crop != inputs.image.crop:
        raise UsageError(
            f"data.augment.crop is {augment.crop} but inputs.image.crop {inputs.image.crop}: the model would "
            "see more of a picture when it is served than it learned to",
            hint=f"inputs.image.crop {augment.crop}",
        )
    if augment.mirror and not augment.clip:
        raise UsageError(
            "data.augment.mirror flips actions, and augment.clip false would leave their clip as it is",
            hint="augment.clip true, or no mirror",
        )
