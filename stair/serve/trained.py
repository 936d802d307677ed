"""A saved model becomes a policy that answers batches of queries.

Takes a model folder, hands on physical action chunks. Images, words and actions go through the very
functions that training used. The surprise: the noise of each query is drawn on the CPU from the query's
own seed, so an answer does not depend on the batch it fell into, nor on the device.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stair.data.language import load_tokenizer, pad_prompts, prompt_ids
from stair.data.statistics import Statistics
from stair.data.transforms import prepare_image, unnormalize
from stair.errors import StairError, UsageError
from stair.models.saved import load_model, open_model
from stair.policy.contract import ActionConvention, PolicySpec, Query
from stair.serve.config import ServeConfig

CONTROL_HZ = {"fractal20220817_data": 3.0}
"""How often the robot of a data set is commanded; 5 Hz where not named (BridgeV2, tabletop)."""
ENSEMBLE_HORIZON = {"bridge_orig": 7, "bridge_dataset": 7}
"""Chunks that CogACT's adaptive ensemble keeps; 2 where not named (Google Robot, tabletop)."""


class TrainedPolicy:
    """The BatchPolicy of a saved model. See `load_policy`."""

    spec: PolicySpec

    def __init__(self, path: Path, config: ServeConfig) -> None:
        self.device = pick_device(config.device)
        model, saved = load_model(path, device=self.device, for_deployment=True)
        self.model: Any = model
        self.inputs = saved.config.inputs
        self.precision, self.flow_steps = config.precision, config.flow_steps or None
        usual = "oformer" if saved.config.stage != "stage1" else "zero"
        self.condition = usual if config.condition == "auto" else config.condition
        self.samples, self.clip = config.samples, config.clip
        self.statistics = {name: Statistics.from_json(tree) for name, tree in saved.statistics.items()}
        self.tokenizer = load_tokenizer(self.inputs.language)
        # Few instructions are spoken over and over.
        self._prompt = lru_cache(maxsize=4096)(self._make_prompt)
        self.spec = PolicySpec(
            name=str(saved.folder.resolve()),
            chunk=self.inputs.action.chunk,
            image_size=self.inputs.image.size,
            unnorm_keys=tuple(self.statistics),
            conventions={
                name: ActionConvention(dim=self.inputs.action.dim, control_hz=CONTROL_HZ.get(name, 5.0))
                for name in self.statistics
            },
            ensemble_horizons={name: ENSEMBLE_HORIZON.get(name, 2) for name in self.statistics},
            action_ranges={
                name: (tuple(map(float, known.action.q01)), tuple(map(float, known.action.q99)))
                for name, known in self.statistics.items()
            },
        )

    @torch.inference_mode()
    def act_batch(self, queries: list[Query]) -> np.ndarray:
        """Physical chunks, float32 [n, K, 7]."""
        images = np.stack([prepare_image(query.image, self.inputs.image) for query in queries])
        ids, mask = pad_prompts([self._prompt(query.instruction) for query in queries], self.tokenizer.pad_id)
        noise = torch.stack([self._noise(query.seed) for query in queries], dim=1)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            chunks = self.model.predict(
                torch.from_numpy(images).to(self.device),
                torch.from_numpy(ids).to(self.device),
                torch.from_numpy(mask).to(self.device),
                noise.to(self.device),
                steps=self.flow_steps,
                condition=self.condition,
            )
        normalized = most_typical(chunks.float().cpu()).numpy()
        if self.clip:
            normalized = clip_as_cogact(normalized)
        keys = [query.unnorm_key for query in queries]
        return np.stack(
            [
                unnormalize(chunk, self.statistics[key].action)
                for chunk, key in zip(normalized, keys, strict=True)
            ]
        )

    def _make_prompt(self, instruction: str) -> np.ndarray:
        return prompt_ids(instruction, self.inputs.language, self.tokenizer)

    def _noise(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        action = self.inputs.action
        return torch.randn(self.samples, action.chunk, action.dim, generator=generator)


def most_typical(chunks: Tensor) -> Tensor:
    """Of N chunks for each query, [N, n, K, 7], the one nearest to their mean, [n, K, 7]."""
    far = (chunks - chunks.mean(dim=0)).square().sum(dim=(-2, -1))
    return chunks[far.argmin(dim=0), torch.arange(chunks.shape[1])]


def clip_as_cogact(normalized: np.ndarray) -> np.ndarray:
    """Normalised actions [..., 7] within [-1, 1], the gripper 0 below one half and 1 from there on."""
    clipped = np.clip(normalized, -1, 1)
    clipped[..., 6] = clipped[..., 6] >= 0.5
    return clipped


def load_policy(config: ServeConfig) -> TrainedPolicy:
    """Loads the model that a server was told to serve.

    Raises StairError when it is missing, incomplete, without statistics, or a stage-1 model that nobody
    allowed.
    """
    if config.samples < 1:
        raise UsageError(f"samples is {config.samples}", hint="--samples 1 or more")
    if config.threads:
        torch.set_num_threads(config.threads)
    path = Path(config.model)
    saved = open_model(path)
    if not saved.statistics:
        raise StairError(f"{saved.folder} has no statistics: its actions cannot be made physical")
    if saved.config.stage == "stage1" and not config.allow_stage1:
        raise StairError(
            f"{saved.folder} is a stage-1 model: it needs a clip that no robot has, its oformer is untrained",
            hint="serve its stage-2 model, or --allow_stage1 true to run it without dynamic tokens",
        )
    if saved.config.stage == "stage1" and config.condition == "oformer":
        raise StairError(
            f"{saved.folder} is a stage-1 model: its oformer is untrained", hint="--condition zero"
        )
    return TrainedPolicy(path, config)


def pick_device(wanted: str) -> str:
    """auto: CUDA where there is one. Raises StairError for CUDA where there is none."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise StairError("no CUDA device can be used here", hint="--device cpu, or run stair-doctor")
    return wanted
