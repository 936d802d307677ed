"""What a training run can be told; torch-free.

A run is a data set, a model, a stage of the recipe and an optimiser. Concrete runs are recipes in
stair/recipes; every field here can be overridden by its dotted name.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from stair.data.config import DataConfig, InputConfig
from stair.frozen import frozen
from stair.models.config import ModelConfig


@frozen
class FreezeConfig:
    """Which parts of the VLM stay as loaded (WoG's three switches)."""

    vision_backbone: bool = False
    llm_backbone: bool = False
    last_llm_layer: bool = True
    """With a frozen llm_backbone: False trains its embedding, last layer and head all the same."""


@frozen
class OptimizerConfig:
    """AdamW and its schedule."""

    learning_rate: float = 2e-5
    rates: dict[str, float] = field(default_factory=dict)
    """Peak rates of single parts, e.g. {action_model: 1.0e-4}; warm-up and schedule are everyone's."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    final_share: float = 0.0
    """cosine: the learning rate ends at this share of its peak."""


@frozen
class EmaConfig:
    """An exponential moving average of weights: what is saved to be served, when it is on."""

    decay: float = 0.0
    """0: off. 0.9999 is usual for long runs."""
    parts: tuple[str, ...] = ("action_model", "projection", "oformer")
    """Whose weights; of these, what trains."""


@frozen
class Stage2Config:
    """How stage 2 begins."""

    warm_steps: int = 0
    """At first only the oformer learns, by its alignment loss, for so many steps."""
    mix_target: float = 0.0
    """Then this share of the samples shows the head the oformer's target instead of its prediction, …"""
    mix_steps: int = 0
    """… falling linearly to none within so many steps."""


@frozen
class EngineConfig:
    """How a step is computed, not what."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16: parameters are gathered and computed in bf16, reduced and kept in fp32."""
    shard: Literal["auto", "full", "hybrid", "none"] = "auto"
    """auto: full over several processes, none in one. none: whole copies that average their gradients,
    faster for models that are small against the cost of talking."""
    frozen_dtype: Literal["fp32", "bf16"] = "fp32"
    """How parameters that do not train are kept, in memory and in the model folder. bf16 halves them."""
    activation_checkpointing: bool = False
    compile: bool = False
    """Compile every block (torch.compile); costs minutes at the start."""
    accumulate: int = 1
    """Backward passes per optimiser step; data.batch_size is split among them."""
    threads: int = 0
    """CPU threads per process; 0 leaves torch's choice."""
    timeout_s: float = 1800.0
    """How long the processes wait for each other, at the start and in every exchange, before one of them
    counts as lost. Longer than the longest save: while the leading process writes, the others wait."""


@frozen
class CheckpointConfig:
    """When the run saves itself."""

    every: int = 2500
    """Steps between checkpoints; the last step is always saved."""
    keep: int = 3
    """Newest checkpoints kept; 0 keeps all."""
    background: bool = True
    """Write while training goes on."""


@frozen
class TrackingConfig:
    """What a run tells while it goes."""

    log_every: int = 10
    validate_every: int = 0
    """Steps between held-out evaluations; 0: only at the end, if data is held out."""
    validate_batches: int = 8
    profile: int = 0
    """Steps to record with torch's profiler, after two of warm-up; the trace goes to RUN/logs."""
    wandb: Literal["off", "offline", "online"] = "off"
    wandb_project: str = "stair"


@frozen
class TrainConfig:
    """One training run."""

    stage: Literal["stage1", "stage2"] = "stage1"
    init_from: str = ""
    """What to start from: a model folder, or a run folder (its newest checkpoint). Empty: from nothing."""
    direct: bool = False
    """stage2 without a stage-1 model (STAGE2_TRAIN_MODE=direct of the STAIR scripts): the alignment target
    is then a random projection. For pipeline tests only, and said loudly."""
    run: str = "runs/stage1"
    steps: int = 10000
    seed: int = 42
    data: DataConfig = field(default_factory=DataConfig)
    inputs: InputConfig = field(default_factory=InputConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    freeze: FreezeConfig = field(default_factory=FreezeConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    stage2: Stage2Config = field(default_factory=Stage2Config)
    engine: EngineConfig = field(default_factory=EngineConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
