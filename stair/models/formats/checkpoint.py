"""A checkpoint of whatever origin, under our names.

Takes a path, hands on a Checkpoint: its tensors by our keys, unread, and what else it says (whose it is, its
statistics, what of it is of no use here). From it a model's parts are filled, a report is made, another form
is written.

The surprise: nothing of CogACT's or WoG's head beyond what the whole family shares is taken. Their
cross-attention reads other tokens, and its queries and keys are zero for ever (they were initialised so that
no gradient reaches them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from stair import settings
from stair.data.statistics import Statistics, read_statistics
from stair.errors import StairError
from stair.models.formats.base_vlm import remark
from stair.models.formats.detect import EXPECTED, Place, detect, read_config
from stair.models.formats.fit import fill
from stair.models.formats.keys import VLM, beyond_cogact, from_hf, is_idle
from stair.models.formats.safetensors_files import open_safetensors
from stair.models.formats.stored import Stored, part_of, parts_of
from stair.models.formats.torch_file import open_torch_file
from stair.models.saved import STATISTICS, SavedConfig, open_model

Family = Literal["stair", "openvla", "cogact", "wog"]
NAMES: dict[Family, str] = {"stair": "STAIR", "openvla": "OpenVLA", "cogact": "CogACT", "wog": "WoG"}
OWN = (*VLM, "action_model", "projection", "oformer", "auxiliary")
"""The parts that a STAIR model has."""
TAKEN: dict[Family, tuple[str, ...]] = {
    "stair": OWN,
    "openvla": VLM,
    "cogact": (*VLM, "action_model"),
    "wog": (*VLM, "action_model"),
}
"""What each family's checkpoints can give us."""
RUN_STATISTICS = "dataset_statistics.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint under our keys; made by `open_checkpoint`."""

    place: Place
    family: Family
    tensors: Mapping[str, Stored]
    """What is of use here, by our keys."""
    left: Mapping[str, str]
    """Modules, or single tensors by their whole key, that are left alone, and why."""
    saved: SavedConfig | None = None
    """What our own saver wrote about the model."""
    remarks: tuple[str, ...] = ()
    """Sentences for whoever starts from it."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts it holds."""
        return parts_of(self.tensors)

    @property
    def title(self) -> str:
        """What it is, in a few words and its path."""
        whose = f"STAIR {self.saved.stage}" if self.saved else NAMES[self.family]
        form = {"stair": "model folder", "prismatic": "prismatic checkpoint", "hf": "Hugging Face folder"}
        return f"{whose} {form[self.place.format]} {self.place.weights}"

    @property
    def left_in_short(self) -> str:
        """What is left alone: modules by name, single tensors by number."""
        modules = [name for name in self.left if "." not in name]
        single = len(self.left) - len(modules)
        return ", ".join([*modules, *([f"{single} single tensors"] if single else [])])

    def may_lack(self, key: str) -> bool:
        """True for a key of ours that a checkpoint of this family cannot have and that stays fresh."""
        return self.family in ("cogact", "wog") and beyond_cogact(key)

    def load(self, model: nn.Module, names: Sequence[str]) -> list[str]:
        """Fills the named parts of a model. Returns the keys that stay fresh; see `fit.fill` for refusals."""
        parts: dict[str, nn.Module] = model.parts()  # type: ignore[operator]
        return fill(parts, names, self.tensors, where=str(self.place.weights), may_lack=self.may_lack)

    def statistics(self) -> dict[str, Statistics]:
        """Those of the run it comes from, empty where it carries none.

        Serving a checkpoint needs exactly these: published runs of one data set differ in their quantiles,
        so a built-in table, or another run's file, gives slightly wrong actions.
        """
        folder = self.place.run
        name = STATISTICS if self.place.format == "stair" else RUN_STATISTICS
        if folder is not None and (folder / name).exists():
            return read_statistics(folder / name)
        norms = read_config(folder).get("norm_stats") if self.place.format == "hf" else None
        return {key: Statistics.from_json(tree) for key, tree in norms.items()} if norms else {}


def open_checkpoint(path: Path) -> Checkpoint:
    """Opens any checkpoint; headers are read, tensors are not.

    Raises StairError for what is none, is damaged, or holds another model.
    """
    place = detect(path)
    match place.format:
        case "stair":
            return Checkpoint(
                place, "stair", open_safetensors(place.weights), {}, open_model(place.weights).config
            )
        case "hf":
            return _from_hf(place)
        case "prismatic":
            return _from_prismatic(place)


def family_of(modules: Sequence[str]) -> Family:
    """Whose checkpoint it is, by the modules in it."""
    if "qformer" in modules:
        return "wog"
    if "projection" in modules or "oformer" in modules:
        return "stair"
    return "cogact" if "action_model" in modules else "openvla"


def _from_hf(place: Place) -> Checkpoint:
    stored = open_safetensors(place.weights)
    tensors = {key: value for name, value in stored.items() if (key := from_hf(name)) and not is_idle(key)}
    if not tensors:
        raise StairError(
            f"{place.weights} holds no tensor of openvla-7b, first {next(iter(stored), '-')}", hint=EXPECTED
        )
    left = {name: "not a tensor of openvla-7b" for name in stored if from_hf(name) is None}
    said = remark(read_config(place.run), place.weights)
    return Checkpoint(place, "openvla", tensors, left, remarks=(said,) if said else ())


def _from_prismatic(place: Place) -> Checkpoint:
    stored = open_torch_file(place.weights)
    modules = parts_of(stored)
    if not set(VLM) & set(modules):
        raise StairError(f"{place.weights} holds {_whose(modules)}", hint=EXPECTED)
    family, config = family_of(modules), read_config(place.run)
    tensors: dict[str, Stored] = {}
    left: dict[str, str] = {}
    for key, value in stored.items():
        if part_of(key) not in TAKEN[family]:
            left[part_of(key)] = _why(part_of(key))
        elif family in ("cogact", "wog") and beyond_cogact(key):
            left[key] = f"{NAMES[family]}'s own; fresh here"
        elif not is_idle(key):
            tensors[key] = value
    said = "" if "stair" in config else remark(config, place.run or place.weights.parent)
    return Checkpoint(place, family, tensors, left, _saved(config, place), (said,) if said else ())


def _saved(config: Mapping[str, object], place: Place) -> SavedConfig | None:
    """What tools/convert-checkpoint wrote into config.json about a STAIR model."""
    tree = config.get("stair")
    if not isinstance(tree, dict):
        return None
    return settings.build(SavedConfig, tree, where=f"{place.run}/config.json: stair")


def _whose(modules: Sequence[str]) -> str:
    """What a `.pt` without a VLM is, as far as its names tell."""
    names = set(modules)
    if names & {"vae_proj", "transformer3d", "patch_embedding", "query_tokens", "qformer_layers"}:
        return "UniVAM's dynamic encoder, which model.dynamic.checkpoint names"
    if "qwen_vl_interface" in names:
        return "a StarVLA model"
    if names & {"language_model", "model", "lm_head"}:
        return "a bare language model or one under Hugging Face's names, not prismatic ones"
    return f"{', '.join(sorted(names)[:4])} and no {', '.join(VLM)}"


def _why(module: str) -> str:
    reasons = {
        "ema_diffusion": "the averaged copy of the head; the head itself is taken",
        "qformer": "WoG's encoder of future frames",
        "oformer": "WoG's oformer predicts other tokens",
    }
    return reasons.get(module, "unknown module")
