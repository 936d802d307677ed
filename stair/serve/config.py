"""What a policy server can be told; torch-free."""

from __future__ import annotations

from typing import Literal

from stair.errors import UsageError
from stair.frozen import frozen


@frozen
class ServeConfig:
    """One policy behind one port."""

    model: str = ""
    """A model folder, or a run folder (its newest checkpoint)."""
    host: str = "127.0.0.1"
    """The interface to listen on; 0.0.0.0 lets other nodes in."""
    port: int = 8321
    """0 takes a free one; see address_file."""
    address_file: str = ""
    """Where to write the address once the server answers, for `stair.evaluate --policy FILE`."""
    max_batch: int = 32
    """Most requests the model sees at once."""
    max_wait_ms: float = 5.0
    """Longest a request waits for clients of unknown rhythm. Once it is known, as long as that pays; and
    nobody waits when all connected clients are waiting."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: matrices are multiplied in bf16; weights stay as saved."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    flow_steps: int = 0
    """Euler intervals of the action head; 0: what the model was saved with."""
    samples: int = 1
    """Chunks drawn for each query in one pass; the one nearest to their mean is the answer."""
    condition: Literal["auto", "oformer", "zero"] = "auto"
    """What stands for the motion: the oformer's prediction, or nothing (the learned null token). auto: the
    oformer's, nothing for a stage-1 model."""
    allow_stage1: bool = False
    """Serve a stage-1 model all the same. It has no trained oformer and nobody gives it a clip, so its
    dynamic tokens are the learned null token."""
    clip: bool = False
    """As CogACT does: predictions are clipped to the range of the training data and its gripper made 0 or 1,
    before an ensemble sees them."""
    speaks: Literal["auto", "stair", "openpi", "starvla", "vla-eval"] = "auto"
    """The protocol of the clients; auto: all of them on one port."""
    mode: Literal["policy", "robot"] = "policy"
    """policy: an answer is the model's chunk, and the client blends and cuts it. robot: an answer is what the
    robot shall do, its gripper 0 or 1; say how with execute or ensemble."""
    execute: int = 0
    """robot: answers are the first so many actions of a chunk, all to be run before the next question."""
    ensemble: int = 0
    """robot: answers are one action each, blended from the last so many chunks."""
    ensemble_alpha: float = 0.1
    unnorm_key: str = ""
    """Data set whose statistics are used for clients that name none; empty: the only one there is."""
    seed: int = 0
    """For clients that send no seed: a query's noise is that of seed + its step since the episode began."""
    image_key: str = ""
    """Where openpi's clients put the image, or the camera's name for vla-eval's; empty: the usual places."""
    prompt_key: str = "prompt"
    """Where openpi's clients put the instruction."""


def check_mode(config: ServeConfig) -> None:
    """Raises UsageError unless it is clear how a robot's actions are chosen, and in one way only."""
    if config.execute < 0 or config.ensemble < 0:
        raise UsageError("execute and ensemble count steps", hint="--execute 8, or --ensemble 7")
    if config.execute and config.ensemble:
        raise UsageError(
            f"execute {config.execute} and ensemble {config.ensemble} exclude each other",
            hint="--execute runs part of a chunk, --ensemble blends chunks step by step: give one of them",
        )
    if config.mode == "robot" and not (config.execute or config.ensemble):
        raise UsageError(
            "how shall the robot's actions be chosen?",
            hint="--execute 8 runs part of each chunk, --ensemble 7 blends the last chunks step by step",
        )
    if config.mode == "policy" and (config.execute or config.ensemble) and config.speaks != "vla-eval":
        raise UsageError("execute and ensemble are for --mode robot, or for --speaks vla-eval")
