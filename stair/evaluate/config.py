"""What an evaluation can be told; standard library only."""

from __future__ import annotations

from typing import Literal

from stair.frozen import frozen


@frozen
class EvalConfig:
    """Rollouts of one policy on some tasks."""

    policy: str = "ws://127.0.0.1:8321"
    """Address of a policy server."""
    simulator: str = "tabletop"
    tasks: tuple[str, ...] = ("tabletop_put_block",)
    episodes: int = 96
    """Layouts per task and variant, from first_episode on; 0, or more than there are, means all of them."""
    first_episode: int = -1
    """First layout; -1: where the task says (tabletop 100000: demonstrations are made of those below)."""
    control: Literal["ensemble", "chunk"] = "ensemble"
    """ensemble: ask each step, blend the chunks' predictions for it. chunk: run `execute` actions."""
    execute: int = 4
    ensemble_alpha: float = 0.1
    action_scale: float = 1.0
    seed: int = 0
    workers: int = 4
    """Simulator processes; their requests are batched by the server."""
    videos: int = 8
    """Episodes filmed per task; -1 films all."""
    camera: int = 0
    """Side of the simulator's camera image in pixels, where it can be chosen; 0: the simulator's own."""
    instruction: str = ""
    """Says this to the policy instead of the task's own instruction; for language probes."""
    variants: tuple[str, ...] = ("",)
    """Looks or wordings of the tasks, as stair/sim/tasks.py names them, or groups of them
    (visual-matching, variant-aggregation); empty is the plain one."""
    max_steps: int = 0
    """Steps of an episode; 0: as the task is registered."""
    unnorm_key: str = ""
    """Data set whose statistics the policy shall use; empty: the one that suits the robot."""
    speaks: Literal["auto", "stair", "openpi", "starvla", "vla-eval"] = "auto"
    """What the policy server speaks; auto: found out on connecting."""
    image_key: str = ""
    """Where a server of openpi's looks for the image, or vla-eval's camera name; empty: as in LIBERO."""
    prompt_key: str = "prompt"
    """Where a server of openpi's looks for the instruction."""
    pitfalls: Literal["stop", "say"] = "stop"
    """What follows when policy and robot seem to misunderstand each other (stair/evaluate/pitfalls/)."""
    noise: Literal["step", "fixed"] = "step"
    """step: each query's noise has a seed of its own, of run seed, layout and step. fixed: all have the run
    seed's. (CogACT's deployments draw from a generator nobody seeds: other noise at every step and run.)"""
    render: Literal["", "nvidia", "cpu"] = ""
    """Which Vulkan driver draws, for simulators that need one: there is no falling back to the other."""
    assets: str = ""
    """Folder with the simulator's meshes and pictures, for simulators that need any."""
    recycle: int = 0
    """Episodes after which a simulator process is replaced by a fresh one; 0: as suits the simulator."""
    retries: int = 2
    """How often an episode is played again whose process died, hung or broke."""
    episode_timeout_s: float = 1800.0
    """An episode that takes longer counts as hung, and its process is ended."""
    swap_goal: bool = False
    """tabletop: names another block and target than the one success is counted on."""
    shard: int = 0
    """Which share of the layouts this evaluation plays, from 0; see shards."""
    shards: int = 1
    """Into how many contiguous shares the layouts are cut; several evaluations fill one run folder."""
    run: str = "runs/eval"
    timeout_s: float = 60.0
    """How long a request may take before the server counts as lost."""
    patience_s: float = 30.0
    """How long a lost server that was given by its address (ws://…) may take to come back."""
