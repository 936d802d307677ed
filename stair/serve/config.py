"""What a policy server can be told; torch-free."""

from __future__ import annotations

from typing import Literal

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
    """Longest a request waits for company. Nobody waits when all connected clients are waiting."""
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
