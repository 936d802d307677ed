"""The stages of the recipe as data: what each loads, freezes and learns.

Takes a stage's name and the freeze switches, hands on which parts train; and fills a model from an earlier
one. The surprise: freezing both towers but not the LLM's last layer trains that layer and nothing else of
the VLM. The code this descends from silently trained the projector instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from stair.console import say
from stair.errors import StairError, UsageError
from stair.models.base import Condition
from stair.models.formats.checkpoint import Checkpoint, open_checkpoint
from stair.train.config import FreezeConfig, TrainConfig

VLM = ("vision_backbone", "projector", "llm_backbone")
LAST_LLM_LAYER = "llm_backbone:last"
"""Stands for the embedding, the last layer and the head of the LLM."""


@dataclass(frozen=True)
class Stage:
    """One stage of the recipe; the VLM's own parts follow FreezeConfig."""

    name: str
    needs: tuple[str, ...]
    """Parts that the model to start from must hold."""
    takes: tuple[str, ...]
    """Parts that are loaded too when it holds them."""
    learns: tuple[str, ...]
    """Parts that train besides the VLM; every other part stays as it is."""
    condition: Condition
    """What feeds the action head while training."""
    watches: tuple[Condition, ...]
    """Conditions whose action loss is measured on held-out data."""
    needs_clips: bool = True
    from_nothing: bool = False
    """May start without any earlier model."""


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "stage1",
            needs=VLM,
            takes=("projection", "action_model", "auxiliary"),
            learns=("projection", "action_model", "auxiliary"),
            condition="dynamic",
            watches=("dynamic", "shuffled", "zero"),
            from_nothing=True,
        ),
        Stage(
            "stage2",
            needs=(*VLM, "action_model", "projection"),
            takes=("oformer", "auxiliary"),
            learns=("oformer", "action_model", "auxiliary"),
            condition="oformer",
            watches=("oformer", "dynamic", "shuffled", "zero"),
        ),
    )
}


def trainable_parts(stage: Stage, freeze: FreezeConfig) -> frozenset[str]:
    """The parts that train, with LAST_LLM_LAYER for the LLM's last layer alone.

    The VLM's rows are OpenVLA's: full, frozen vision, projector only ('align'), last layer with vision
    ('sandwich'), last layer alone. Raises UsageError for the combination it does not define.
    """
    match freeze.vision_backbone, freeze.llm_backbone, freeze.llm_backbone and not freeze.last_llm_layer:
        case False, False, _:
            vlm = VLM
        case True, False, _:
            vlm = ("projector", "llm_backbone")
        case True, True, False:
            vlm = ("projector",)
        case False, True, True:
            vlm = ("vision_backbone", "projector", LAST_LLM_LAYER)
        case True, True, True:
            vlm = (LAST_LLM_LAYER,)
        case _:
            raise UsageError(
                "a frozen LLM under a training vision backbone is no known way to train",
                hint="--freeze.vision_backbone true, or --freeze.last_llm_layer false",
            )
    return frozenset((*vlm, *stage.learns))


def freeze_parts(model: nn.Module, learning: frozenset[str]) -> None:
    """Takes the gradients of everything that is not in `learning`.

    Nothing is ever switched on: weights that a part keeps out of training itself stay out.
    """
    parts: dict[str, nn.Module] = model.parts()  # type: ignore[operator]
    kept = {id(p) for name in learning & parts.keys() for p in parts[name].parameters()}
    if LAST_LLM_LAYER in learning:
        kept |= {id(p) for p in _last_layer(parts["llm_backbone"])}
    for parameter in model.parameters():
        if id(parameter) not in kept:
            parameter.requires_grad_(False)


def _last_layer(llm: nn.Module) -> list[nn.Parameter]:
    names = dict(llm.named_parameters())
    numbers = [int(found[1]) for name in names if (found := re.search(r"\blayers\.(\d+)\.", name))]
    if not numbers:
        raise StairError("this LLM has no numbered layers", hint="--freeze.last_llm_layer true")
    wanted = re.compile(rf"\b(embed_tokens|lm_head|layers\.{max(numbers)})\.")
    return [parameter for name, parameter in names.items() if wanted.search(name)]


def parts_to_load(
    stage: Stage, present: Iterable[str], *, direct: bool = False, source: str = "this"
) -> list[str]:
    """Which parts to take from a model, called `source`, that holds `present`.

    `direct` (stage 2 without a stage 1) asks only for the VLM. Raises StairError naming what it lacks.
    """
    found = set(present)
    needed = VLM if direct else stage.needs
    missing = [part for part in needed if part not in found]
    if missing:
        hint = "name a whole model"
        if stage.name == "stage2":
            hint = "name the run folder of a finished stage 1, or --direct true for a pipeline test"
        raise StairError(
            f"{stage.name} starts from a model with {', '.join(missing)}, {source} has none", hint=hint
        )
    return [part for part in (*stage.needs, *stage.takes) if part in found]


def start_from(model: nn.Module, stage: Stage, config: TrainConfig, *, aloud: bool = True) -> None:
    """Fills a fresh model with what the stage starts from, ours or another's; says what is unusual about it.

    See stair/models/formats/checkpoint.py for the forms. Raises StairError when it does not fit.
    """
    tell = say if aloud else lambda _: None
    if config.direct and stage.name == "stage2":
        tell(
            "WARNING: stage2 without a stage-1 projection aligns to a random target; for pipeline tests only"
        )
    if not config.init_from:
        if not (stage.from_nothing or config.direct):
            raise UsageError(
                f"{stage.name} starts from a stage-1 model and init_from is empty",
                hint="--init-from RUN of a finished stage 1, or --direct for a pipeline test",
            )
        return
    checkpoint = open_checkpoint(Path(config.init_from))
    names = parts_to_load(stage, checkpoint.parts, direct=config.direct, source=checkpoint.title)
    fresh = checkpoint.load(model, names)
    for line in what_was_taken(stage, checkpoint, names, fresh):
        tell(line)


def what_was_taken(stage: Stage, checkpoint: Checkpoint, names: list[str], fresh: list[str]) -> list[str]:
    """What to say about a start: the parts taken, the keys that stay fresh, and what may surprise."""
    earlier = checkpoint.saved.stage if checkpoint.saved else ""
    lines = [f"{stage.name} starts from {checkpoint.title}: {', '.join(names)}"]
    new = [part for part in (*stage.needs, *stage.learns) if part not in names]
    if new and checkpoint.family != "stair":
        lines.append(f"note: it holds no {', '.join(dict.fromkeys(new))}; they start fresh")
    if fresh:
        what = "those of its attention to dynamic tokens"
        lines.append(f"note: {len(fresh)} tensors of the action head start fresh, {what}")
    if checkpoint.left:
        lines.append(f"note: left alone in it: {checkpoint.left_in_short}")
    lines += [f"note: {remark}" for remark in checkpoint.remarks]
    if stage.name == "stage1" and earlier == "stage2":
        lines.append("note: stage1 after stage2 does not train the oformer further")
    if stage.name == earlier:
        lines.append(f"note: this goes on from another {earlier} model with a fresh optimiser")
    return lines
