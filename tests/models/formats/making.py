"""Small checkpoints in the forms of others, written without our writers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stair.models.build import build_model
from stair.models.config import TowerConfig, VisionConfig
from tests.models.small import CONFIG as SMALL
from tests.models.small import INPUTS

DINO = TowerConfig(16, 2, 2, 32, patch=8, registers=4, class_token=True, layer_scale=True)
SIGLIP = TowerConfig(16, 2, 2, 32, patch=8, attention_pool=True)
CONFIG = replace(SMALL, vision=VisionConfig(dino=DINO, siglip=SIGLIP))
"""A small model with every kind of tensor that the released towers have."""

PT_NAME = "step-295000-epoch-40-loss=0.2200.pt"
VLM = ("vision_backbone", "projector", "llm_backbone")
NUMBERS = [0.1, -0.2, 0.3, 0.0, 0.5, -0.6, 1.0]
STATISTICS: dict[str, Any] = {
    "bridge_orig": {
        "action": {
            **{name: NUMBERS for name in ("mean", "std", "max", "min", "q01", "q99")},
            "mask": [True] * 6 + [False],
        },
        "proprio": {name: NUMBERS for name in ("mean", "std", "max", "min", "q01", "q99")},
        "num_transitions": 2135463,
        "num_trajectories": 60064,
    }
}

Modules = dict[str, dict[str, Tensor]]


def fresh_model(seed: int = 0, config: Any = CONFIG) -> Any:
    """A model in which no tensor is constant, so that a swapped one is noticed."""
    torch.manual_seed(seed)
    model = build_model(config, INPUTS)
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    return model


def modules_of(model: Any, *names: str) -> Modules:
    """The state dicts of some parts, as OpenVLA's trainer gathers them."""
    return {name: {k: v.clone() for k, v in model.parts()[name].state_dict().items()} for name in names}


def cogact_modules(model: Any, family: str = "cogact") -> Modules:
    """As CogACT saves them, or WoG's stage 1 with its own cross-attention over 32 channels."""
    modules = modules_of(model, *VLM, "action_model")
    head = modules["action_model"]
    width = head["net.x_embedder.linear.weight"].shape[0]
    for key in list(head):
        if "per_token" in key or (family == "cogact" and ("per_attn" in key or "norm3" in key)):
            del head[key]
    if family == "cogact":
        head["net.history_embedder.linear.weight"] = torch.zeros(width, 7)
        head["net.history_embedder.linear.bias"] = torch.zeros(width)
    else:
        head["net.per_token_embedder.linear.weight"] = torch.zeros(width, 32)
        modules["qformer"] = {"v_proj.weight": torch.zeros(4, 4)}
    return modules


def write_run(
    run: Path, modules: Any, *, name: str = PT_NAME, base_vlm: str = "prism-dinosiglip-224px+7b"
) -> Path:
    """A run directory in OpenVLA's form; returns the `.pt`."""
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps({"vla": {"base_vlm": base_vlm}, "seed": 7}))
    (run / "dataset_statistics.json").write_text(json.dumps(STATISTICS))
    torch.save({"model": modules}, run / "checkpoints" / name)
    return run / "checkpoints" / name


def write_hf(folder: Path, model: Any, dtype: torch.dtype = torch.float32) -> Path:
    """Two shards and an index under openvla-7b's names, spelled out."""
    from safetensors.torch import save_file

    renamed = {}
    for module, state in modules_of(model, *VLM).items():
        for key, value in state.items():
            name = {
                "vision_backbone": lambda k: (
                    "vision_backbone."
                    + k.replace("dino_", "").replace("siglip_", "fused_").replace(".gamma", ".scale_factor")
                ),
                "projector": lambda k: f"projector.fc{int(k.split('.')[1]) // 2 + 1}.{k.split('.')[2]}",
                "llm_backbone": lambda k: "language_model." + k.removeprefix("llm."),
            }[module](key)
            renamed[name] = value.to(dtype)
    folder.mkdir(parents=True)
    names = sorted(renamed)
    places = {}
    for number, keys in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({key: renamed[key] for key in keys}, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(keys, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "config.json").write_text(json.dumps({"model_type": "openvla", "norm_stats": STATISTICS}))
    return folder


def same(first: Any, second: Any, *parts: str) -> bool:
    """True when the parts of two models hold equal tensors."""
    pairs = [(first.parts()[part].state_dict(), second.parts()[part].state_dict()) for part in parts]
    return all(torch.equal(one[key], other[key]) for one, other in pairs for key in one)
