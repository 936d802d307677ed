"""The VAE's folder, found, judged and mapped.

    WAN_VAE/[vae/]config.json diffusion_pytorch_model*.safetensors     of Wan2.2-TI2V-5B-Diffusers

Takes where a configuration says the VAE lies, hands on its encoder, whose weights are views of the files. The
decoder's weights, half of the file, are never touched.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stair.errors import StairError
from stair.models.formats.fit import compare
from stair.models.formats.safetensors_files import DAMAGED, read_header
from stair.models.parts.wan_vae import WanVaeConfig, WanVaeEncoder

VAE_CONFIG, VAE_WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
VARIABLE = re.compile(r"\$\{oc\.env:\s*(\w+)\s*(?:,\s*([^}]*?)\s*)?\}")
"""OmegaConf's way to name an environment variable, with a default or without."""
GET_VAE = "--train.model.dynamic.wan_vae FOLDER of Wan2.2-TI2V-5B-Diffusers (tools/fetch-weights wan22-vae)"


def find_vae(wanted: str, model_path: str, source: Path, env: Mapping[str, str] = os.environ) -> Path:
    """The folder of the VAE: `wanted`, or where config.yaml says, or the vae folder within.

    Raises StairError when that names an unset variable or no folder with a config.json.
    """
    path = wanted or model_path
    if not path:
        raise StairError(
            f"{source} names no wanva.model_path, and model.dynamic.wan_vae is empty", hint=GET_VAE
        )

    def filled(found: re.Match[str]) -> str:
        value = env.get(found[1], found[2])
        if value is None:
            raise StairError(
                f"{source}: wanva.model_path is {path}, and {found[1]} is not set",
                hint=f"export {found[1]}=…, or {GET_VAE}",
            )
        return value

    folder = Path(VARIABLE.sub(filled, path))
    for place in (folder / "vae", folder):
        if (place / VAE_CONFIG).is_file():
            return place
    said = "model.dynamic.wan_vae" if wanted else f"wanva.model_path of {source}"
    state = f"holds no vae/{VAE_CONFIG}" if folder.is_dir() else "is no folder"
    raise StairError(f"{said}: {folder} {state}", hint=GET_VAE)


def open_vae(folder: Path, code: str) -> tuple[nn.Module, WanVaeConfig]:
    """The VAE's encoder with its weights, run by our code (`own`) or diffusers'."""
    try:
        values = json.loads((folder / VAE_CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise StairError(f"cannot read {folder / VAE_CONFIG}: {error}", hint=GET_VAE) from None
    config = WanVaeConfig.read(values, str(folder / VAE_CONFIG))
    if code == "diffusers":
        return DiffusersVae(folder, config), config
    with torch.device("meta"):
        vae = WanVaeEncoder(config)
    fill(vae, read_safetensors(folder, ("encoder.", "quant_conv.")), folder)
    return vae, config


class DiffusersVae(nn.Module):
    """diffusers' AutoencoderKLWan behind the door of ours; its decoder is dropped."""

    def __init__(self, folder: Path, config: WanVaeConfig) -> None:
        super().__init__()
        try:
            from diffusers import AutoencoderKLWan  # type: ignore[import-not-found]
        except (ImportError, RuntimeError) as error:  # the latter: something that it imports is broken
            line = str(error).splitlines()[0]
            raise StairError(
                f"model.dynamic.vae is diffusers, which cannot be imported: {line}",
                hint="pip install diffusers, or --train.model.dynamic.vae own, which agrees to rounding",
            ) from None
        self.config = config
        self.model: Any = AutoencoderKLWan.from_pretrained(folder)
        self.model.decoder, self.model.post_quant_conv = nn.Identity(), nn.Identity()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.model.encode(pixels).latent_dist
        return posterior.mean, posterior.logvar


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Gives a module on the meta device the very tensors, uncopied. Raises StairError when they differ."""
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    fit = compare(expected, {key: tuple(value.shape) for key, value in tensors.items()})
    if fit.misshaped:
        key, found, wanted = fit.misshaped[0]
        raise StairError(
            f"{source}: {key} has shape {list(found)}, expected {list(wanted)}",
            hint="do config and weights come from the same place?",
        )
    for keys, verb in ((fit.missing, "lacks"), (fit.extra, "has unknown")):
        if keys:
            raise StairError(
                f"{source} {verb} {len(keys)} tensors, first {keys[0]}",
                hint="is the file whole, and of the released kind?",
            )
    module.load_state_dict(dict(tensors), assign=True)


def read_safetensors(folder: Path, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors under some prefixes of a diffusers folder, mapped; its file may be cut into shards."""
    from safetensors import SafetensorError, safe_open

    index = folder / f"{VAE_WEIGHTS}.index.json"
    try:
        places = json.loads(index.read_text())["weight_map"].values() if index.is_file() else [VAE_WEIGHTS]
        files = [folder / name for name in sorted(set(places))]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise StairError(f"cannot read {index}: {error!r}", hint=DAMAGED) from None
    tensors = {}
    for file in files:
        if not file.is_file():
            raise StairError(f"no VAE weights at {file}", hint=GET_VAE)
        names = [name for name in read_header(file) if name.startswith(prefixes)]
        try:
            with safe_open(file, framework="pt") as opened:
                tensors |= {name: opened.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise StairError(f"cannot read {file}: {error}", hint=DAMAGED) from None
    return tensors
