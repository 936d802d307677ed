"""Holds our models against timm, transformers, diffusers and torch.

    python tools/model_parity.py [--reference PYTHON] [--record FILE]          (part of make parity)

Every part is built at small width, given the library's own random weights under the library's names, fed the
same input, and must answer within 1e-5 of the largest value; names and shapes of the full-size part must be
equal, one by one. Prints a table; exit code 1 on any miss. The libraries live in an environment of their own
(tools/reference_venv.py), where tools/model_reference.py runs. --record keeps what diffusers said, for the
tests, which do without diffusers.

The oformer has no library model to equal: it is pre-norm where Bert and BLIP-2's Q-Former are post-norm. Its
layer is held against torch's TransformerDecoderLayer(norm_first), which is the same arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stair.console import say, show_table
from stair.data.config import ClipConfig
from stair.models.config import (
    DynamicConfig,
    LlamaConfig,
    OformerConfig,
    TowerConfig,
    dino_large,
    siglip_so400m,
)
from stair.models.parts.llama import LlamaBackbone
from stair.models.parts.oformer import OformerLayer
from stair.models.parts.univam import ProjectorShape, QformerProjector, UnivamEncoder
from stair.models.parts.vision import Tower
from stair.models.parts.wan_vae import WanVaeConfig, WanVaeEncoder

TOLERANCE = 1e-5
"""Of the largest absolute value of the output."""
Answers = Mapping[str, Tensor]
HERE = Path(__file__).parent


def shapes(module: nn.Module) -> dict[str, list[int]]:
    """Names and shapes of everything a module saves."""
    return {name: list(value.shape) for name, value in module.state_dict().items()}


def on_meta(make: Callable[[], nn.Module]) -> dict[str, list[int]]:
    """Names and shapes of a module that is too large to make."""
    with torch.device("meta"):
        return shapes(make())


def tower(case: Any, full: TowerConfig) -> tuple[Answers, dict[str, list[int]]]:
    small = replace(full, width=48, depth=4, heads=4, mlp_width=case["mlp_width"])
    ours = Tower(small, 56)
    ours.load_state_dict(case["weights"])
    return {"features": ours(case["inputs"]["images"])}, on_meta(lambda: Tower(full, 224))


def llama(case: Any) -> tuple[Answers, dict[str, list[int]]]:
    ours = LlamaBackbone(LlamaConfig(vocabulary=96, width=64, depth=3, heads=4, mlp_width=112))
    ours.llm.load_state_dict(case["weights"])
    ids, mask, patches = (case["inputs"][name] for name in ("ids", "mask", "patches"))
    states = ours(ids, patches)
    cognition = states[torch.arange(len(ids)), mask.sum(1) - 1]
    answers = {"states": states * mask[..., None], "cognition": cognition}
    return answers, on_meta(lambda: LlamaBackbone(LlamaConfig()).llm)


def oformer(case: Any) -> tuple[Answers, None]:
    ours, theirs = OformerLayer(OformerConfig(width=32, heads=4, mlp_width=56)), case["weights"]
    names = {f"norm{n}.{kind}": f"norm{n}.{kind}" for n in (1, 2, 3) for kind in ("weight", "bias")}
    state = {ours_name: theirs[name] for ours_name, name in names.items()}
    for kind in ("weight", "bias"):
        cross = theirs[f"multihead_attn.in_proj_{kind}"]
        state |= {
            f"self_attn.qkv.{kind}": theirs[f"self_attn.in_proj_{kind}"],
            f"self_attn.proj.{kind}": theirs[f"self_attn.out_proj.{kind}"],
            f"cross_attn.q.{kind}": cross[:32],
            f"cross_attn.kv.{kind}": cross[32:],
            f"cross_attn.proj.{kind}": theirs[f"multihead_attn.out_proj.{kind}"],
            f"mlp.fc1.{kind}": theirs[f"linear1.{kind}"],
            f"mlp.fc2.{kind}": theirs[f"linear2.{kind}"],
        }
    ours.load_state_dict(state)
    return {"queries": ours(*(case["inputs"][name] for name in ("x", "memory", "mask")))}, None


def projector(case: Any) -> tuple[Answers, dict[str, list[int]]]:
    sizes = case["sizes"]
    ours = QformerProjector(ProjectorShape(**sizes, inner=4 * sizes["width"], output=sizes["width"]))
    ours.load_state_dict(case["weights"])
    return {"tokens": ours(case["inputs"]["memory"])}, on_meta(lambda: QformerProjector(ProjectorShape()))


def vae(case: Any) -> tuple[Answers, dict[str, list[int]]]:
    values = {"_class_name": "AutoencoderKLWan", **case["config"]}
    ours = WanVaeEncoder(WanVaeConfig.read(values, "reference"))
    ours.load_state_dict(case["weights"])
    answers: dict[str, Tensor] = {}
    for count in (5, 9):
        mean, log_variance = ours(case["inputs"][f"clip{count}"])
        answers |= {f"mean{count}": mean, f"log_variance{count}": log_variance, f"mode{count}": mean}
    spread = (0.5 * answers["log_variance5"]).exp()
    answers["sample5"] = answers["mean5"] + spread * case["inputs"]["noise5"]
    return answers, on_meta(lambda: WanVaeEncoder(WanVaeConfig()))


def univam(case: Any, folder: Path) -> tuple[Answers, None]:
    """From the very files that the libraries wrote."""
    sizes, wan = case["sizes"], str(folder / "wan")
    (folder / "config.yaml").write_text(
        f"projector: {{type: qformer, num_attention_heads: {sizes['heads']}}}\n"
        "wanva: {model_path: '${oc.env:PRETRAINED_MODEL_PATH}/wan'}\n"
        "data: {frames: 5, image_size: [64, 64]}\n"
    )
    config = DynamicConfig("univam", sizes["tokens"], sizes["width"], checkpoint=str(folder), wan_vae=wan)
    return {"tokens": UnivamEncoder(config, ClipConfig(image_size=64))(case["inputs"]["clips"])}, None


def measure(name: str, case: Any, found: tuple[Answers, dict[str, list[int]] | None]) -> list[list[Any]]:
    """Rows of the table: part, what is compared, reference, how far off, verdict."""
    answers, full = found
    rows: list[list[Any]] = []
    for output, theirs in case["outputs"].items():
        off = float((answers[output] - theirs).abs().max() / theirs.abs().max())
        rows.append([name, output, case["source"], f"{off:.1e}", "equal" if off <= TOLERANCE else "DIFFERS"])
    if full is not None:
        theirs = case["full"]
        wrong = [key for key in full.keys() | theirs.keys() if full.get(key) != theirs.get(key)]
        verdict = "equal" if not wrong else f"DIFFER: {sorted(wrong)[0]}"
        rows.append([name, f"{len(theirs)} full-size shapes", case["source"], len(wrong), verdict])
    return rows


def record(cases: Mapping[str, Any]) -> str:
    """What diffusers said, for tests without it; weights and inputs are made anew by parity_weights."""
    vae, projector = cases["vae"], cases["projector"]
    numbers = {
        "vae": {name: vae["outputs"][name][0] for name in ("mean5", "log_variance5")},
        "projector": {"tokens": projector["outputs"]["tokens"][0]},
    }
    kept = {
        name: {key: [round(x, 6) for x in value.flatten().tolist()] for key, value in values.items()}
        for name, values in numbers.items()
    }
    about = {"vae": {"config": vae["config"]}, "projector": {"sizes": projector["sizes"]}}
    full = {name: cases[name]["full"] for name in kept}
    result = {
        name: {"source": cases[name]["source"], **about[name], "outputs": kept[name], "full": full[name]}
        for name in kept
    }
    return json.dumps(result, indent=None, separators=(",", ":")) + "\n"


@torch.no_grad()
def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reference", default="", help="a Python that has timm, transformers and diffusers")
    parser.add_argument("--record", type=Path, help="file for what diffusers said")
    options = parser.parse_args(arguments)
    maker = [sys.executable, str(HERE / "reference_venv.py"), "models"]
    python = options.reference or subprocess.check_output(maker, text=True).strip()

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        script = str(HERE / "model_reference.py")
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        subprocess.run([python, script, str(folder)], check=True, stdout=sys.stderr, env=environment)
        cases = {file.stem: torch.load(file, weights_only=True) for file in sorted(folder.glob("*.pt"))}
        ours: dict[str, Callable[[Any], tuple[Answers, dict[str, list[int]] | None]]] = {
            "dino": lambda case: tower(case, dino_large()),
            "siglip": lambda case: tower(case, siglip_so400m()),
            "llama": llama,
            "oformer": oformer,
            "projector": projector,
            "vae": vae,
            "univam": lambda case: univam(case, folder / "univam"),
        }
        rows = [
            row for name, compute in ours.items() for row in measure(name, cases[name], compute(cases[name]))
        ]
    show_table("parity of models", ["part", "what", "reference", "off", "verdict"], rows)
    missed = [row for row in rows if row[-1] != "equal"]
    say(f"{len(rows) - len(missed)} of {len(rows)} equal, within {TOLERANCE:g} of the largest value")
    if options.record:
        options.record.write_text(record(cases))
    return 1 if missed or not rows else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
