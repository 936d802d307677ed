"""Writing the checkpoints of a run, beside the training.

Takes model, optimizer, averages and step, hands on `checkpoints/step-N/`: `training/` (sharded tensors and
`state.json`) to go on from, `model/` to serve from, and last of all the `complete` marker. A checkpoint that
could not be written is removed and told by the next call, in all processes alike.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.tensor import DTensor

from stair.errors import StairError
from stair.models.saved import part_tensors
from stair.rundir import Checkpoint, RunDir, make_folder, write_json, write_whole
from stair.train.ema import Ema
from stair.train.world import World

STATE = "state.json"


class Saver:
    """Writes the checkpoints of a run, one at a time, beside the training when `background`.

    Every method is collective.
    """

    def __init__(
        self,
        run: RunDir,
        world: World,
        *,
        keep: int,
        background: bool,
        state: Mapping[str, Any],
        write_model: Callable[[Path, int, dict[str, Tensor]], None],
    ) -> None:
        self.run, self.world, self.keep, self.background = run, world, keep, background
        self.state, self.write_model = dict(state), write_model
        # Its own group: the background thread's messages must not mix with the training's.
        self.group: Any = None
        if world.group is not None:
            self.group = dist.new_group(backend="gloo", timeout=world.patience)
        self.thread: threading.Thread | None = None
        self.checkpoint: Checkpoint | None = None
        self.error: str | None = None
        hush()

    @property
    def failed(self) -> bool:
        """True when this process could not write the checkpoint under way; not collective."""
        return self.error is not None

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None = None
    ) -> None:
        """Starts the checkpoint of a step. Raises StairError when it or the one before cannot be written.

        `model/` holds the average of what `ema` covers, `training/` that and the weights themselves.
        """
        self.finish()
        self.checkpoint = checkpoint = self.run.checkpoint(step)
        self.world.lead(lambda: _make_place(checkpoint))
        average = ema.average if ema is not None else {}
        weights = whole_tensors(model, average, keep=self.world.leads)
        try:
            state = training_state(model, optimizer, average)
            future = async_save(state, checkpoint_id=checkpoint.training, process_group=self.group)
        except (CheckpointException, OSError, RuntimeError) as error:
            self.error = cause_of(error)
            self.finish()
            return
        self.thread = threading.Thread(target=self._complete, args=(future, checkpoint, weights), daemon=True)
        self.thread.start()
        if not self.background:
            self.finish()

    def finish(self) -> None:
        """Waits for the checkpoint under way. Raises StairError when it could not be written."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.checkpoint is None:
            return
        checkpoint, self.checkpoint = self.checkpoint, None
        errors = [error for error in self.world.gather(self.error) if error]
        self.error = None
        if errors:
            if self.world.leads:
                shutil.rmtree(checkpoint.path, ignore_errors=True)
            before = self.run.latest_checkpoint()
            again = f"the run goes on from step {before.step}" if before else "the run starts anew"
            raise StairError(
                f"checkpoint {checkpoint.path} could not be written: {errors[0]}",
                hint=f"make room on that disk and start again: {again}",
            )

    def abandon(self) -> None:
        """On the way out after an error: lets a lone process finish or remove what it was writing."""
        if self.world.size == 1:
            with contextlib.suppress(StairError):  # the error that brought us here is the one to tell
                self.finish()

    def _complete(self, future: Any, checkpoint: Checkpoint, weights: dict[str, Tensor]) -> None:
        try:
            getattr(future, "upload_completion", future).result()
            if not self.world.leads:
                return
            # DCP's coordinator has heard of every process's data by now.
            write_json(checkpoint.training / STATE, {"step": checkpoint.step, **self.state})
            self.write_model(checkpoint.model, checkpoint.step, weights)
            write_whole(checkpoint.marker, "")
            self._rotate()
        except BaseException as error:  # CheckpointException is no Exception
            self.error = cause_of(error)

    def _rotate(self) -> None:
        if self.keep < 1:
            return
        for old in self.run.saved_checkpoints()[: -self.keep]:
            with contextlib.suppress(OSError):  # an old one too many is no reason to stop
                old.marker.unlink()  # first, so that a half-removed one does not count
                shutil.rmtree(old.path)


def training_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, average: Mapping[str, Tensor]
) -> dict[str, Any]:
    """The tensors to go on from, by parameter name: what trains, its AdamW moments and its average where
    there is one; shards as shards.

    Parameters that never got a gradient have no moments.
    """
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {
        "model": {name: p.detach() for name, p in learning.items()},
        "optimizer": {
            name: dict(optimizer.state[p]) for name, p in learning.items() if optimizer.state.get(p)
        },
        **({"ema": dict(average)} if average else {}),
    }


def whole_tensors(model: nn.Module, average: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Every tensor of the model's parts, or its average, gathered whole into CPU memory where `keep`;
    collective.

    Always copies: the training goes on while they are written.
    """
    gathered = {}
    for key, value in (part_tensors(model) | dict(average)).items():
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            gathered[key] = whole.detach().to("cpu", copy=True)
    return gathered


def _make_place(checkpoint: Checkpoint) -> None:
    shutil.rmtree(checkpoint.path, ignore_errors=True)
    make_folder(checkpoint.training)
    checkpoint.training.chmod(0o700)  # see refuse_foreign


def cause_of(error: BaseException) -> str:
    """One line about why DCP, safetensors or the disk refused."""
    failures = getattr(error, "failures", None)
    if failures:
        error = next(iter(failures.values()))[0]
    if isinstance(error, StairError):
        return error.what
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = (str(error) or type(error).__name__).splitlines()[0]
    # What torch's file writer says when a write comes back short.
    return "no space left on the disk or in its quota" if "inline_container" in text else text


def hush() -> None:
    """Without DCP's remark that a lone process saves alone (it speaks from its own threads too)."""
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
