"""STAIR: an image and an instruction become an action chunk.

    observation + instruction
        ↓  vision_backbone → projector → llm_backbone
    cognition [B, 1, llm]            the last real token's state
        ↓
    per_token [B, D, llm]            stage 1: dynamic_encoder (frozen) → projection
        ↓                            stage 2 and deployment: oformer over the text states
    action_model (DiT, flow matching)
        ↓
    actions [B, K, 7]

Single-device code; sharding, precision and checkpoints come from stair/train. A model built for deployment
has no dynamic encoder and no projection: it needs no clip.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stair.data.config import InputConfig
from stair.data.sample import Batch
from stair.errors import StairError
from stair.models.base import Condition, Draws
from stair.models.config import ModelConfig
from stair.models.parts import flow
from stair.models.parts.dit import ActionModel
from stair.models.parts.dynamic import FrozenEncoder, build_encoder
from stair.models.parts.llama import LlamaBackbone
from stair.models.parts.oformer import Oformer
from stair.models.parts.projector import Projector
from stair.models.parts.vision import VisionBackbone

STATE = 4
"""xyz and gripper of the present step, which the waypoint loss also asks for."""


class Auxiliary(nn.Module):
    """Linear read-outs of the cognition token and of the mean text state, for the auxiliary losses."""

    def __init__(self, llm_width: int, chunk: int, action_dim: int) -> None:
        super().__init__()
        self.chunk = nn.Linear(llm_width, chunk * action_dim)
        self.waypoints = nn.Linear(llm_width, STATE + 2 * 3)


class Stair(nn.Module):
    """The policy and its losses."""

    def __init__(self, config: ModelConfig, inputs: InputConfig, *, for_deployment: bool = False) -> None:
        super().__init__()
        self.config, self.inputs = config, inputs
        width, action = config.llm.width, inputs.action
        self.vision_backbone = VisionBackbone(config.vision, inputs.image.size)
        self.projector = Projector(self.vision_backbone.width, width)
        self.llm_backbone = LlamaBackbone(config.llm)
        self.dynamic_encoder: FrozenEncoder | None = None
        self.projection: nn.Module | None = None
        if not for_deployment:
            with torch.device("cpu"):  # real also where the rest is only a shape: nobody will fill it
                self.dynamic_encoder = build_encoder(config.dynamic, inputs.clip)
            self.projection = nn.Linear(config.dynamic.width, width)
        self.oformer = Oformer(config.oformer, config.dynamic.tokens, width)
        self.action_model = ActionModel(config.head, width, action.dim, action.chunk)
        self.auxiliary = Auxiliary(width, action.chunk, action.dim)

    def read(self, images: Tensor, token_ids: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the VLM makes of image and instruction: cognition [B, 1, llm], text states [B, L, llm]."""
        patches = self.projector(self.vision_backbone(images))
        states = self.llm_backbone(token_ids, patches)
        last = token_mask.sum(dim=1) - 1
        return states[torch.arange(len(states), device=states.device), last][:, None], states

    def observe(self, clips: Tensor | None, tokens: Tensor | None = None) -> Tensor:
        """The projected dynamic tokens of the clips, or of the cached `tokens` instead, [B, D, llm]."""
        if self.dynamic_encoder is None or self.projection is None:
            raise StairError("this model was built for deployment and has no dynamic encoder")
        if tokens is not None:
            return self.projection(tokens)
        if clips is None:
            raise StairError("the dynamic condition needs clips", hint="read the data with clips")
        return self.projection(self.dynamic_encoder(clips))

    def anticipate(self, states: Tensor, token_mask: Tensor) -> Tensor:
        """The oformer's prediction of the dynamic tokens, [B, D, llm].

        BOS stands before the image and has not seen it, so it is not read.
        """
        return self.oformer(states[:, 1:], token_mask[:, 1:])

    def forward(
        self, batch: Batch, draws: Draws, condition: Condition = "dynamic", warm: bool = False
    ) -> dict[str, Tensor]:
        """Losses of a batch under one condition; null tokens and targets are mixed in only in training mode.

        Returns scalars: `loss` (minimised), `action` (flow matching), and where they apply `align`,
        `chunk`, `waypoints`, `words`. `warm` minimises `align` alone and only the oformer gets gradients.
        """
        learning = torch.is_grad_enabled() and not warm
        with torch.set_grad_enabled(learning):
            cognition, states = self.read(batch.images, batch.token_ids, batch.token_mask)
        seen = per_token = self.dynamic_tokens(batch, states, condition)
        losses: dict[str, Tensor] = {}
        total: Tensor | float = 0.0
        if condition == "oformer" and (batch.clips is not None or batch.dynamic_tokens is not None):
            with torch.no_grad():
                goal = self.observe(batch.clips, batch.dynamic_tokens)
            losses["align"] = (1 - F.cosine_similarity(per_token.float(), goal.float(), dim=-1)).mean()
            total = self.config.align_weight * losses["align"]
            if self.training:
                seen = torch.where(draws.see_target[:, None, None], goal.to(per_token.dtype), per_token)
        if warm and "align" not in losses:
            raise StairError("warm steps train the oformer on clips, and this batch has none")
        with torch.set_grad_enabled(learning):
            losses["action"] = self.action_loss(batch, draws, cognition, seen, condition)
        if not warm:
            total = total + losses["action"]
            for name, weight, loss in self.auxiliary_losses(batch, cognition, states):
                losses[name] = loss
                total = total + weight * loss
        return {"loss": torch.as_tensor(total), **losses}

    def action_loss(
        self, batch: Batch, draws: Draws, cognition: Tensor, per_token: Tensor, condition: Condition
    ) -> Tensor:
        """The flow matching error of all draws, a scalar."""
        drop_dynamic = draws.drop_dynamic if self.training else torch.zeros_like(draws.drop_dynamic)
        if condition == "zero":
            drop_dynamic = torch.ones_like(drop_dynamic)
        drop_cognition = draws.drop_cognition if self.training else torch.zeros_like(draws.drop_cognition)
        noisy, target = flow.noisy_and_target(batch.actions, draws.noise, draws.time)
        drops = (drop_cognition, drop_dynamic)
        velocity = self.action_model(noisy, draws.time, cognition, per_token, drops)
        return flow.masked_error(velocity, target, batch.action_mask)

    def dynamic_tokens(self, batch: Batch, states: Tensor, condition: Condition) -> Tensor:
        """The dynamic tokens that a condition stands for, [B, D, llm]."""
        match condition:
            case "oformer":
                return self.anticipate(states, batch.token_mask)
            case "dynamic":
                return self.observe(batch.clips, batch.dynamic_tokens)
            case "shuffled":
                return self.observe(batch.clips, batch.dynamic_tokens).roll(1, dims=0)
            case "zero":
                return self.no_tokens(states)

    def no_tokens(self, states: Tensor) -> Tensor:
        """What stands where the head will put its null token, [B, D, llm]."""
        return states.new_zeros(len(states), self.config.dynamic.tokens, states.shape[-1])

    def auxiliary_losses(
        self, batch: Batch, cognition: Tensor, states: Tensor
    ) -> list[tuple[str, float, Tensor]]:
        """(name, weight, loss) of the auxiliary losses that are switched on."""
        weights, found = self.config.auxiliary, []
        if weights.chunk:
            chunk = self.auxiliary.chunk(cognition[:, 0]).float().view_as(batch.actions)
            found.append(("chunk", weights.chunk, flow.masked_error(chunk, batch.actions, batch.action_mask)))
        state = batch.proprio[:, [0, 1, 2, 6]]
        wanted = torch.cat([state, batch.waypoints.flatten(1)], dim=1)

        def off(answer: Tensor) -> Tensor:
            """Squared error; what the episode has no more is not asked."""
            return ((answer.float() - wanted.nan_to_num()).square() * wanted.isfinite()).mean()

        if weights.waypoints:
            answer = self.auxiliary.waypoints(cognition[:, 0])
            found.append(("waypoints", weights.waypoints, off(answer)))
        if weights.words:
            mask = batch.token_mask[:, 1:, None]
            answer = self.auxiliary.waypoints((states[:, 1:] * mask).sum(1) / mask.sum(1))
            found.append(("words", weights.words, off(answer)))
        return found

    def velocity(
        self,
        images: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        condition: Condition = "oformer",
        clips: Tensor | None = None,
    ) -> flow.Velocity:
        """The head's velocity field for B observations; the VLM is read once.

        `condition` says what the head sees: `oformer` as deployed, `zero` no dynamic tokens, `dynamic` the
        true ones of `clips` (uint8 [B, T, 3, C, C]; a model with its encoder). Fields of several models can
        be added and integrated together by `flow.integrate`.
        """
        cognition, states = self.read(images, token_ids, token_mask)
        drop = None
        match condition:
            case "oformer":
                per_token = self.anticipate(states, token_mask)
            case "dynamic":
                per_token = self.observe(clips)
            case "zero":
                per_token = self.no_tokens(states)
                drop = torch.ones(len(states), dtype=torch.bool, device=states.device)
            case _:
                raise StairError(
                    f"no chunk is predicted under the condition '{condition}'",
                    hint="known: oformer, dynamic, zero",
                )
        return self.action_model.field(cognition, per_token, (None, drop))

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        noise: Tensor,
        steps: int | None = None,
        condition: Condition = "oformer",
        clips: Tensor | None = None,
    ) -> Tensor:
        """Normalised chunks integrated from `noise` [B, K, 7] or, N for each sample, [N, B, K, 7]; the
        condition as in `velocity`."""
        velocity = self.velocity(images, token_ids, token_mask, condition, clips)
        return flow.integrate(velocity, noise, steps or self.config.flow.steps, self.config.flow.euler)

    def draw(self, batch_size: int, generator: torch.Generator, target_share: float = 0.0) -> Draws:
        """The randomness of a global batch, on the CPU."""
        head, action = self.config.head, self.inputs.action
        shape = (head.repeats, batch_size)
        return Draws(
            noise=torch.randn((*shape, action.chunk, action.dim), generator=generator),
            time=flow.draw_times(self.config.flow, shape, generator),
            drop_cognition=torch.rand(batch_size, generator=generator) < head.drop_cognition,
            drop_dynamic=torch.rand(batch_size, generator=generator) < head.drop_dynamic,
            see_target=torch.rand(batch_size, generator=generator) < target_share,
        )

    def parts(self) -> dict[str, nn.Module]:
        """Every part by the name it has in checkpoints; the frozen encoder is not one of them."""
        return {name: module for name, module in self.named_children() if name != "dynamic_encoder"}

    def blocks(self) -> list[nn.Module]:
        """The repeated blocks, in the order data passes through them."""
        vision = self.vision_backbone
        towers = [*vision.dino_featurizer.blocks, *vision.siglip_featurizer.blocks]
        layers = [*self.llm_backbone.llm.model.layers, *self.oformer.layers]
        return [*towers, *layers, *self.action_model.net.blocks]
