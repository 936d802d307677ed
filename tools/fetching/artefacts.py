"""The artefacts that STAIR starts from: what they are called, where they come from, where they go.

Takes a name, hands on an Artefact, which says for every file of its repository where in `pretrained/` it
belongs, if anywhere. A table and two pure functions. The layout is that of the recipes and of upstream's
README: UniVAM's folders lose the training step in their name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stair.errors import unknown


@dataclass(frozen=True)
class Artefact:
    """Some files of one repository of the Hub."""

    name: str
    repository: str
    folder: str
    """Below `pretrained/`."""
    rules: tuple[tuple[str, str], ...]
    """Expression of a path in the repository, and its place below `folder`; the first match counts."""
    needs: tuple[str, ...]
    """Expressions of placed paths without which it is of no use."""
    about: str
    licence: str
    typical_gb: float
    """About how large it is, for a plan made without network."""

    def place(self, path: str) -> str | None:
        """Where a file of the repository goes below `folder`; None for files that are not wanted."""
        for pattern, target in self.rules:
            found = re.fullmatch(pattern, path)
            if found:
                return found.expand(target)
        return None

    def lacking(self, places: Sequence[str]) -> list[str]:
        """What is needed and not among the placed files."""
        return [need for need in self.needs if not any(re.fullmatch(need, place) for place in places)]


LLAMA = "Llama 2 Community Licence: https://www.llama.com/llama-downloads"
TOKENIZER = r"((?:config|special_tokens_map|tokenizer_config|tokenizer)\.json|tokenizer\.model)"


def _univam(robot: str, step: str) -> Artefact:
    """One robot's dynamic encoder. The decoder's LoraAdapter.pth is not needed to encode."""
    return Artefact(
        f"univam-{robot}",
        "STA-I-R/video_stamo",
        f"univam/{robot}",
        (
            (rf"{robot}/{step}/(Wan22VM\.pth|Projector\.pth|config\.yaml)", r"\1"),
            (rf"(?:{robot}/)?(config\.yaml)", r"\1"),
        ),
        (r"Wan22VM\.pth", r"Projector\.pth"),
        f"UniVAM dynamic encoder for {robot} ({step})",
        "see the repository's card",
        8.2,
    )


ARTEFACTS = {
    artefact.name: artefact
    for artefact in (
        Artefact(
            "openvla-7b-prismatic",
            "openvla/openvla-7b-prismatic",
            "openvla-7b-prismatic",
            ((r"(config\.(?:json|yaml)|dataset_statistics\.json|checkpoints/step-[^/]*\.pt)", r"\1"),),
            (r"config\.json", r"dataset_statistics\.json", r"checkpoints/.*\.pt"),
            "OpenVLA-7B as its own code saved it, fp32: what stage 1 starts from",
            f"MIT; built on Llama 2: {LLAMA}",
            30.2,
        ),
        Artefact(
            "openvla-7b",
            "openvla/openvla-7b",
            "openvla-7b",
            ((r"([^/]*\.safetensors(?:\.index\.json)?|[^/]*\.json|tokenizer\.model)", r"\1"),),
            (r"config\.json", r"model.*\.safetensors"),
            "the same weights in bf16, Hugging Face's form",
            f"MIT; built on Llama 2: {LLAMA}",
            15.1,
        ),
        Artefact(
            "llama2-tokenizer",
            "NousResearch/Llama-2-7b-hf",
            "llama2_config",
            ((TOKENIZER, r"\1"),),
            (r"tokenizer\.json", r"config\.json"),
            "Llama 2's tokenizer and configuration, no weights",
            f"{LLAMA}; this copy asks for no account, Meta's own is gated",
            0.003,
        ),
        Artefact(
            "wan22-vae",
            "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
            "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
            ((r"(vae/(?:config\.json|[^/]*\.safetensors(?:\.index\.json)?))", r"\1"),),
            (r"vae/config\.json", r"vae/.*\.safetensors"),
            "the video VAE under UniVAM",
            "Apache-2.0",
            2.8,
        ),
        _univam("bridgev2", "137k"),
        _univam("fractal", "76000"),
        _univam("libero", "110k_2"),
    )
}
"""Every artefact by its name."""

GROUPS = {
    "recipe": ("openvla-7b-prismatic", "llama2-tokenizer", "wan22-vae", "univam-bridgev2"),
    "univam": ("univam-bridgev2", "univam-fractal", "univam-libero"),
}
"""Names for several; `recipe` is what the recipes stage1 and stage2 need."""


def choose(names: Sequence[str]) -> list[Artefact]:
    """The artefacts that names and groups mean, each once. Raises UsageError for an unknown name."""
    chosen: dict[str, Artefact] = {}
    for name in names:
        for one in GROUPS.get(name, (name,)):
            if one not in ARTEFACTS:
                raise unknown("artefact", one, (*ARTEFACTS, *GROUPS))
            chosen[one] = ARTEFACTS[one]
    return list(chosen.values())
