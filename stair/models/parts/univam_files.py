"""The files of a UniVAM encoder, found, judged and mapped.

    CHECKPOINT/config.yaml Wan22VM.pth Projector.pth     as UniVAM's training leaves them
    WAN_VAE/…                                            see wan_vae_files.py

Takes a DynamicConfig and the clip's form, hands on a Univam whose weights are views of the files. Everything
that can be wrong with them is refused here: what was found, what is expected, what to try. Wan22VM.pth is
mostly the decoder of UniVAM's training; only `vae_proj.` is taken from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stair import settings
from stair.console import say
from stair.data.config import ClipConfig
from stair.errors import StairError, UsageError
from stair.models.config import DynamicConfig
from stair.models.formats.torch_file import open_torch_file
from stair.models.parts.univam import ProjectorShape, QformerProjector, Univam
from stair.models.parts.wan_vae import WanVaeConfig
from stair.models.parts.wan_vae_files import GET_VAE, fill, find_vae, open_vae

VM, PROJECTOR, CONFIG = "Wan22VM.pth", "Projector.pth", "config.yaml"
OLDER = "Wan22VAM.pth"
"""Of older commits, whose clips enter by a patch embedding of 3072 and not by vae_proj."""
GET_UNIVAM = "a checkpoint of STA-I-R/video_stamo: tools/fetch-weights univam"


@dataclass(frozen=True)
class UnivamConfig:
    """What of a checkpoint's config.yaml concerns encoding; the defaults are those of all released ones."""

    heads: int = 8
    frames: int = 5
    image_size: tuple[int, int] = (256, 256)
    model_path: str = ""
    """Folder of the Wan model, environment variables not yet filled in."""


def read_univam(config: DynamicConfig, clip: ClipConfig) -> Univam:
    """Maps an encoder's files. Raises StairError naming what is missing or does not fit."""
    if not config.checkpoint:
        raise UsageError(
            "model.dynamic.kind is univam and model.dynamic.checkpoint is empty",
            hint=f"--train.model.dynamic.checkpoint FOLDER with {VM} and {PROJECTOR}; {GET_UNIVAM}",
        )
    folder = Path(config.checkpoint)
    for name in (VM, PROJECTOR):
        if not (folder / name).is_file():
            raise _missing(folder, name)
    about = read_config(folder / CONFIG)
    refuse_other_clips(about, clip, folder)
    with torch.device("cpu"):  # whatever device a model is being made on
        vae, vae_config = open_vae(find_vae(config.wan_vae, about.model_path, folder / CONFIG), config.vae)
        vae_proj = read_vae_proj(folder / VM, vae_config)
        projector = read_projector(folder / PROJECTOR, about.heads, vae_proj.out_channels)
        refuse_other_tokens(projector, config, folder / PROJECTOR)
        return Univam(vae_config, vae, vae_proj, projector)


def read_config(file: Path) -> UnivamConfig:
    """What config.yaml says, or the released values where it is missing, which is said. Raises StairError for
    another projector than the released one."""
    if not file.exists():
        say(f"note: no {file}; 8 heads and clips of 5 x 256 x 256 are assumed, as in all released encoders")
        return UnivamConfig()
    tree = settings.read_yaml(file)
    projector, data, wan = (tree.get(name) or {} for name in ("projector", "data", "wanva"))
    kind = projector.get("type", "qformer")
    if kind != "qformer":
        raise StairError(
            f"{file}: projector.type is {kind}; expected qformer, of which the released encoders are",
            hint=f"{GET_UNIVAM}",
        )
    default = UnivamConfig()
    size = data.get("image_size", default.image_size)
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    return UnivamConfig(
        heads=int(projector.get("num_attention_heads", default.heads)),
        frames=int(data.get("frames", default.frames)),
        image_size=(int(height), int(width)),
        model_path=str(wan.get("model_path") or ""),
    )


def refuse_other_clips(about: UnivamConfig, clip: ClipConfig, folder: Path) -> None:
    """Raises UsageError for clips that the encoder was not trained on."""
    if about.image_size != (clip.image_size, clip.image_size):
        height, width = about.image_size
        raise UsageError(
            f"{folder} was trained on clips of {height} x {width}, "
            f"inputs.clip.image_size is {clip.image_size}",
            hint=f"--train.inputs.clip.image_size {height}"
            if height == width
            else "a checkpoint of square clips",
        )
    if about.frames != clip.frames:
        raise UsageError(
            f"{folder} was trained on clips of {about.frames} frames, inputs.clip.frames is {clip.frames}",
            hint=f"--train.inputs.clip.frames {about.frames}",
        )


def read_vae_proj(file: Path, vae: WanVaeConfig) -> nn.Conv3d:
    """`vae_proj` of a Wan22VM.pth, whatever else is in it."""
    tensors = {
        key: stored.read() for key, stored in open_torch_file(file).items() if key.startswith("vae_proj.")
    }
    weight = tensors.get("vae_proj.weight")
    if weight is None:
        raise _without_vae_proj(file)
    if weight.ndim != 5 or weight.shape[1] != vae.z_dim:
        raise StairError(
            f"{file}: vae_proj.weight has shape {list(weight.shape)}, "
            f"expected [width, {vae.z_dim}, 1, 2, 2] for the latents of this VAE",
            hint="was the encoder trained with another VAE? " + GET_VAE,
        )
    kernel = tuple(weight.shape[2:])
    with torch.device("meta"):
        conv = nn.Conv3d(weight.shape[1], weight.shape[0], kernel, stride=kernel)  # type: ignore[arg-type]
    fill(conv, {key.removeprefix("vae_proj."): value for key, value in tensors.items()}, file)
    return conv


def read_projector(file: Path, heads: int, memory: int) -> QformerProjector:
    """The projector, sized by what the file holds; `memory` is the width that vae_proj gives."""
    tensors = {key: stored.read() for key, stored in open_torch_file(file).items()}
    shape = projector_shape(tensors, heads, file)
    if shape.memory != memory:
        raise StairError(
            f"{file} reads visual tokens of {shape.memory}, vae_proj of {VM} gives {memory}",
            hint="take both files from the same checkpoint",
        )
    with torch.device("meta"):
        projector = QformerProjector(shape)
    fill(projector, tensors, file)
    return projector


def projector_shape(tensors: Mapping[str, Tensor], heads: int, file: Path) -> ProjectorShape:
    """The sizes of a Projector.pth. Raises StairError for what is not a query transformer."""
    first = "qformer_layers.0.cross_attn."
    names = (
        "query_tokens",
        f"{first}attn2.to_k.weight",
        f"{first}ff.net.2.weight",
        "output_align_mlp.weight",
    )
    missing = [name for name in names if name not in tensors]
    if missing:
        raise StairError(
            f"{file} has no {missing[0]}: its {len(tensors)} tensors begin with {next(iter(tensors))}",
            hint=f"expected a projector of type qformer; {GET_UNIVAM}",
        )
    queries, keys, out, align = (tensors[name] for name in names)
    if queries.shape[-1] % heads:
        raise StairError(
            f"{file}: {queries.shape[-1]} channels do not divide among {heads} heads",
            hint=f"projector.num_attention_heads of {CONFIG} belongs to another checkpoint",
        )
    return ProjectorShape(
        tokens=queries.shape[-2],
        width=queries.shape[-1],
        memory=keys.shape[1],
        inner=out.shape[1],
        layers=len({key.split(".")[1] for key in tensors if key.startswith("qformer_layers.")}),
        output=align.shape[0],
        heads=heads,
    )


def refuse_other_tokens(projector: QformerProjector, config: DynamicConfig, file: Path) -> None:
    """Raises UsageError when the model expects other tokens than the projector makes."""
    tokens, width = projector.query_tokens.shape[1], projector.output_align_mlp.out_features
    if (tokens, width) != (config.tokens, config.width):
        raise UsageError(
            f"{file} makes {tokens} tokens of {width}, model.dynamic says {config.tokens} of {config.width}",
            hint=f"--train.model.dynamic.tokens {tokens} --train.model.dynamic.width {width}",
        )


def _missing(folder: Path, name: str) -> StairError:
    if not folder.is_dir():
        return StairError(f"no UniVAM checkpoint at {folder}: it is no folder", hint=GET_UNIVAM)
    if name == VM and (folder / OLDER).exists():
        return _older(folder / OLDER)
    there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
    return StairError(
        f"{folder} lacks {name}; it holds {there}",
        hint=f"expected {VM}, {PROJECTOR} and {CONFIG}; {GET_UNIVAM}",
    )


def _older(file: Path, shape: str = "") -> StairError:
    return StairError(
        f"{file} is of an older UniVAM, whose clips enter by patch_embedding{shape}; "
        f"expected {VM} with vae_proj",
        hint=f"newer weights: {GET_UNIVAM}",
    )


def _without_vae_proj(file: Path) -> StairError:
    tensors = open_torch_file(file)
    for key, stored in tensors.items():
        if key.endswith("patch_embedding.weight"):
            return _older(file, f" {list(stored.shape)}")
    return StairError(
        f"{file} has no vae_proj.weight; its {len(tensors)} tensors begin with {next(iter(tensors))}",
        hint=f"{PROJECTOR} and {VM} exchanged? {GET_UNIVAM}",
    )
