"""Does what a file holds fit a model? And if so, into it.

Takes the shapes a model expects and the tensors a file holds, hands on what is missing, extra or mis-shaped;
and fills a model's parts, all or nothing. Tensors are copied one by one into the weights that are there:
a file is never in memory beside the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from stair.data.config import InputConfig
from stair.errors import StairError
from stair.models.build import build_model
from stair.models.config import ModelConfig
from stair.models.formats.stored import Stored, part_of

Shape = tuple[int, ...]

HEADS = {(6, 384): "DiT-S", (12, 768): "DiT-B", (24, 1024): "DiT-L"}
"""CogACT's names for heads by depth and width."""


@dataclass(frozen=True)
class Fit:
    """How some tensors differ from what is expected; empty when they fit."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    misshaped: tuple[tuple[str, Shape, Shape], ...] = ()
    """Key, shape found, shape expected."""

    @property
    def fits(self) -> bool:
        return not (self.missing or self.extra or self.misshaped)


def compare(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> Fit:
    """What is missing, extra or of another shape; pure."""
    return Fit(
        missing=tuple(key for key in expected if key not in found),
        extra=tuple(key for key in found if key not in expected),
        misshaped=tuple(
            (key, found[key], shape) for key, shape in expected.items() if found.get(key, shape) != shape
        ),
    )


def expected_shapes(config: ModelConfig, inputs: InputConfig) -> dict[str, Shape]:
    """Every tensor of a configuration's model by key, without allocating it. The frozen dynamic encoder is
    in no checkpoint and not among them."""
    config = replace(config, dynamic=replace(config.dynamic, kind="mock"))
    with torch.device("meta"):
        model = build_model(config, inputs)
    parts: dict[str, nn.Module] = model.parts()  # type: ignore[operator]
    return {
        f"{part}.{key}": tuple(value.shape)
        for part, module in parts.items()
        for key, value in module.state_dict().items()
    }


def fill(
    parts: Mapping[str, nn.Module],
    names: Sequence[str],
    tensors: Mapping[str, Stored],
    *,
    where: str,
    may_lack: Callable[[str], bool] = lambda key: False,
) -> list[str]:
    """Copies a file's tensors into the named parts of a model, converting their dtype.

    Returns the keys that the file lacks and `may_lack` allows: they stay as they were. Raises StairError
    naming the part, key and shapes that do not fit; the model is then unchanged.
    """
    wanted = {f"{name}.{key}": value for name in names for key, value in parts[name].state_dict().items()}
    found = {key: stored.shape for key, stored in tensors.items() if part_of(key) in names}
    fit = compare({key: tuple(value.shape) for key, value in wanted.items()}, found)
    kept = [key for key in fit.missing if may_lack(key)]
    refuse_misfit(
        replace(fit, missing=tuple(key for key in fit.missing if not may_lack(key))), where, tensors
    )
    with torch.no_grad():
        for key, target in wanted.items():
            assert not target.is_meta, f"{key} has no memory to be filled"
            if key in tensors:
                target.copy_(tensors[key].read())
    return kept


def refuse_misfit(fit: Fit, where: str, tensors: Mapping[str, Stored]) -> None:
    """Raises StairError for the first thing that does not fit; shapes say most, so they come first."""
    if fit.misshaped:
        key, found, expected = fit.misshaped[0]
        hint = "load it with the model configuration it was trained with"
        if part_of(key) == "action_model" and (name := head_name(tensors)):
            hint = f"the file's action head is a {name}"
        raise StairError(
            f"{where}: {key} has shape {list(found)}, the configuration says {list(expected)}"
            + (f" (and {len(fit.misshaped) - 1} more)" if len(fit.misshaped) > 1 else ""),
            hint=hint,
        )
    if fit.missing:
        lost = ", ".join(sorted({part_of(key) for key in fit.missing}))
        raise StairError(
            f"{where} lacks {len(fit.missing)} tensors of {lost}, first {fit.missing[0]}",
            hint="was it saved by another stage or with another model configuration?",
        )
    if fit.extra:
        raise StairError(
            f"{where} holds {len(fit.extra)} tensors that the configuration has no place for,"
            f" first {fit.extra[0]}",
            hint="was it saved with more layers? tools/inspect-checkpoint lists them",
        )


def head_name(tensors: Mapping[str, Stored]) -> str:
    """An action head's size in words, with the settings that make one; empty where there is none."""
    embedder = tensors.get("action_model.net.x_embedder.linear.weight")
    if embedder is None:
        return ""
    start = "action_model.net.blocks."
    depth = len({key[len(start) :].split(".")[0] for key in tensors if key.startswith(start)})
    width = embedder.shape[0]
    name = HEADS.get((depth, width), "DiT")
    return f"{name}: --model.head.depth {depth} --model.head.width {width}"
