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
    """Layouts per task, from first_episode on."""
    first_episode: int = 100000
    """First layout; tabletop demonstrations use layouts below 100000, so these were never trained on."""
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
    """Looks or wordings of the tasks, as stair/sim/tasks.py names them; empty is the plain one."""
    max_steps: int = 0
    """Steps of an episode; 0: as the task is registered."""
    unnorm_key: str = ""
    """Data set whose statistics the policy shall use; empty: the one that suits the robot."""
    speaks: Literal["auto", "stair", "openpi", "starvla", "vla-eval"] = "auto"
    """What the policy server speaks; auto: found out on connecting."""
    render: Literal["", "nvidia", "cpu"] = ""
    """Which Vulkan driver draws, for simulators that need one: there is no falling back to the other."""
    assets: str = ""
    """Folder with the simulator's meshes and pictures, for simulators that need any."""
    recycle: int = 0
    """Episodes after which a simulator process is replaced by a fresh one; 0: as suits the simulator."""
    retries: int = 2
    """How often an episode is played again whose process died or hung."""
    episode_timeout_s: float = 1800.0
    """An episode that takes longer counts as hung, and its process is ended."""
    swap_goal: bool = False
    """tabletop: names another block and target than the one success is counted on."""
    shard: int = 0
    """Which share of the layouts this evaluation plays, from 0; see shards."""
    shards: int = 1
    """Into how many shares the layouts are dealt out, one by one; several evaluations fill one run folder."""
    run: str = "runs/eval"
    timeout_s: float = 60.0
    """How long a request may take before the server counts as lost."""
