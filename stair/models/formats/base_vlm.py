"""What an OpenVLA run was built on: its `base_vlm`, looked up wherever it points.

Takes a run's config.json, hands on the identifiers of its vision and language backbones. A `base_vlm` is a
name of OpenVLA's model registry, the directory of another run (asked in turn), or the directory of a base
VLM, whose config.json has them under `model`. Only shapes decide whether weights fit; these facts say
whether images must be prepared in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stair.errors import StairError
from stair.models.formats.detect import read_config


@dataclass(frozen=True)
class BaseVlm:
    """The facts that OpenVLA's registry keeps of a base VLM."""

    vision_backbone_id: str
    llm_backbone_id: str
    arch_specifier: str
    image_resize_strategy: str
    llm_max_length: int = 2048


FACTS = ("vision_backbone_id", "llm_backbone_id", "arch_specifier", "image_resize_strategy")
OURS_NAME = "prism-dinosiglip-224px+7b"
OURS = BaseVlm("dinosiglip-vit-so-224px", "llama2-7b-pure", "no-align+fused-gelu-mlp", "resize-naive")
REGISTRY = {OURS_NAME: OURS}
"""The one entry whose architecture is built here (OpenVLA prismatic/conf/models.py)."""


def base_vlm_of(config: Mapping[str, Any], near: Path, seen: frozenset[Path] = frozenset()) -> BaseVlm | None:
    """The base VLM of a config.json; None when it names one that is neither known nor found.

    Relative directories are looked up from here and from the run's neighbourhood (`near`). Raises StairError
    when runs name each other in a circle.
    """
    inner = config.get("model")
    model: Mapping[str, Any] = inner if isinstance(inner, Mapping) else config
    if "vision_backbone_id" in model:
        facts = {name: str(model.get(name, "?")) for name in FACTS}
        return BaseVlm(**facts, llm_max_length=int(model.get("llm_max_length", 2048)))
    name = base_name(config)
    if name in REGISTRY:
        return REGISTRY[name]
    for folder in (Path(name), near / name, near.parent / name) if name else ():
        if not (folder / "config.json").exists():
            continue
        place = folder.resolve()
        if place in seen:
            raise StairError(
                f"{place} is its own base_vlm", hint=f"vla.base_vlm: {OURS_NAME} in its config.json"
            )
        return base_vlm_of(read_config(folder), folder, seen | {place})
    return None


def base_name(config: Mapping[str, Any]) -> str:
    """What a run's config.json calls its base VLM; empty when it says nothing."""
    vla = config.get("vla")
    return str(vla.get("base_vlm", "")) if isinstance(vla, Mapping) else ""


def remark(config: Mapping[str, Any], near: Path) -> str:
    """A line about a base VLM that is not ours; empty when all is as expected."""
    base, name = base_vlm_of(config, near), base_name(config)
    if base is None:
        return f"its base VLM '{name}' is not known here; shapes alone were compared" if name else ""
    differing = [
        f"{field} {getattr(base, field)} (here {getattr(OURS, field)})"
        for field in FACTS
        if getattr(base, field) not in (getattr(OURS, field), "?")
    ]
    return f"it was trained with another base VLM: {', '.join(differing)}" if differing else ""
