"""What a path is: whose checkpoint, in which form, and where its pieces lie.

Takes a path as a person gives it (a run directory, a `.pt`, a folder of safetensors or one of its files, our
own run or model folder), hands on a Place. No tensor is read. What is none of these is refused by what it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stair.errors import StairError
from stair.models.formats.safetensors_files import INDEX, has_weights
from stair.models.formats.torch_file import kind_of, refuse_other_kinds
from stair.models.saved import CONFIG, is_model_folder
from stair.rundir import RunDir

Format = Literal["stair", "prismatic", "hf"]
LATEST = "latest-checkpoint.pt"
EXPECTED = (
    "expected a STAIR model or run folder, an OpenVLA, CogACT or WoG run directory or its .pt, or the folder "
    "of Hugging Face's openvla-7b"
)
STEP = re.compile(r"step-(?P<step>\d+)(?:-epoch-(?P<epoch>\d+)-loss=(?P<loss>[\d.]+|inf|nan))?\.pt")
"""Upstream's names, and the short form of its README."""
UNIVAM = ("Wan22VM.pth", "Wan22VAM.pth", "Projector.pth")


@dataclass(frozen=True)
class Place:
    """A checkpoint that is there, by its form."""

    format: Format
    """stair: our model folder. prismatic: a `.pt`. hf: safetensors under Hugging Face's names."""
    path: Path
    """As it was asked for."""
    weights: Path
    """The `.pt`, or the folder of safetensors."""
    run: Path | None
    """prismatic: the directory with config.json and dataset_statistics.json, if any. Otherwise `weights`."""


def detect(path: Path) -> Place:
    """What `path` is. Raises StairError saying what it is instead, or that nothing is there."""
    if not path.exists():
        known = re.search(r"openvla-7b(-prismatic)?", str(path))
        hint = f"tools/fetch-weights {known[0]}" if known else "check the path"
        raise StairError(f"no checkpoint at {path}: it does not exist", hint=hint)
    return _file(path) if path.is_file() else _folder(path)


def read_config(folder: Path | None) -> dict[str, Any]:
    """A run's config.json; empty where there is none. Raises StairError when it is damaged."""
    file = folder / "config.json" if folder else None
    if file is None or not file.exists():
        return {}
    try:
        tree = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise StairError(f"cannot read {file}: {error}", hint="fetch or save it again") from None
    if not isinstance(tree, dict):
        raise StairError(f"{file} holds no mapping", hint="expected the configuration of a run")
    return tree


def newest_weights(run: Path) -> Path:
    """The `.pt` of a run directory: its latest-checkpoint.pt, or the one of most steps.

    Raises StairError when there is none, or when names do not say which is newest.
    """
    files = sorted((run / "checkpoints").glob("*.pt"))
    if not files:
        raise StairError(
            f"{run} holds no checkpoints/*.pt",
            hint="tools/fetch-weights openvla-7b-prismatic, or git lfs pull",
        )
    if run / "checkpoints" / LATEST in files:
        return run / "checkpoints" / LATEST
    steps = {file: int(found["step"]) for file in files if (found := STEP.fullmatch(file.name))}
    if steps:
        return max(steps, key=lambda file: steps[file])
    if len(files) == 1:
        return files[0]
    names = ", ".join(file.name for file in files[:4])
    raise StairError(
        f"{run / 'checkpoints'} holds {len(files)} files of unknown order: {names}", hint="name one"
    )


def _file(path: Path) -> Place:
    if path.suffix == ".optimizer":
        raise StairError(f"{path} is the optimiser's state, not the weights", hint="give the .pt beside it")
    if path.name in UNIVAM:
        return _univam(path.parent)
    if path.name == INDEX or path.suffix == ".safetensors":
        return _folder(path.parent)
    if kind_of(path) == "safetensors":
        raise StairError(
            f"{path} is a safetensors file under the name of a {path.suffix or 'plain file'}:"
            " expected torch.save's form",
            hint="name the folder it came from, with its files as they were",
        )
    refuse_other_kinds(path)
    run = path.parents[1] if path.parent.name == "checkpoints" else None
    known = run is not None and any(
        (run / name).exists() for name in ("config.json", "dataset_statistics.json")
    )
    return Place("prismatic", path, path, run if known else None)


def _folder(path: Path) -> Place:
    if any((path / name).exists() for name in UNIVAM):
        return _univam(path)
    if is_model_folder(path):
        return Place("stair", path, path, path)
    newest = RunDir(path).latest_checkpoint()
    if newest is not None:
        return Place("stair", path, newest.model, newest.model)
    if path.name == "checkpoints" and any(path.glob("*.pt")):
        path = path.parent
    config = read_config(path)
    base_run = "model" in config and (path / "checkpoints").is_dir()
    if "vla" in config or base_run or any(path.glob("checkpoints/*.pt")):
        return Place("prismatic", path, newest_weights(path), path)
    kind = config.get("model_type") or ", ".join(config.get("architectures") or ())
    if has_weights(path) and kind in ("openvla", ""):
        return Place("hf", path, path, path)
    if kind and kind != "openvla":
        raise StairError(f"{path} holds a {kind} model", hint=EXPECTED)
    if any(path.glob("pytorch_model*.bin")):
        raise StairError(f"{path} holds pytorch_model.bin files only", hint="fetch its safetensors edition")
    if (path / CONFIG).exists():
        raise StairError(
            f"{path} is a run without a complete checkpoint",
            hint="has the training run saved a checkpoint yet?",
        )
    raise StairError(f"{path} is no checkpoint that is known here", hint=EXPECTED)


def _univam(folder: Path) -> Place:
    raise StairError(
        f"{folder} holds UniVAM's dynamic encoder, not a policy",
        hint="it is named by model.dynamic.checkpoint; start from OpenVLA or a STAIR model",
    )
