"""The action head: a DiT that says in which direction a noisy action chunk should move.

Takes noisy chunks [B, K, 7], times [B], the cognition token [B, 1, llm] and the dynamic tokens [B, D, llm],
hands on velocities [B, K, 7]. Cognition and time make one prepended token (CogACT); each block also attends
to the dynamic tokens (`per_attn`). The surprise: only the *output* of that cross-attention starts at zero.
Zeroing q, k and v as well, as the code this descends from does, keeps q and k at zero for ever.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stair.models.config import HeadConfig
from stair.models.parts.attention import Mlp, SelfAttention
from stair.models.parts.flow import Velocity

FREQUENCIES = 256


class TimeEmbedder(nn.Module):
    """Sinusoid of t (256 channels, cosines first, longest period 10,000) through an MLP."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor, dtype: torch.dtype) -> Tensor:
        half = FREQUENCIES // 2
        exponents = torch.arange(half, device=time.device, dtype=torch.float32) / half
        angles = (time.float() * self.scale)[:, None] * torch.exp(-math.log(10000.0) * exponents)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(dtype))


class ActionEmbedder(nn.Module):
    """[B, K, 7] → [B, K, width]."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class ConditionEmbedder(nn.Module):
    """Condition tokens [B, N, llm] → [B, N, width]; dropped samples get a learned null token."""

    def __init__(self, llm_width: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(llm_width, width)
        self.uncondition = nn.Parameter(torch.empty(1, llm_width))

    def forward(self, tokens: Tensor, drop: Tensor | None) -> Tensor:
        if drop is not None:
            tokens = torch.where(drop[:, None, None], self.uncondition.to(tokens.dtype), tokens)
        return self.linear(tokens)


class DiTBlock(nn.Module):
    """Self-attention, cross-attention to the dynamic tokens, MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = SelfAttention(width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.per_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(width, 4 * width, "tanh")

    def forward(self, x: Tensor, per_token: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        x = x + self.per_attn(self.norm3(x), per_token, per_token, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class FinalLayer(nn.Module):
    """Width to action dimensions; starts at zero."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm_final(x))


class DiT(nn.Module):
    """Peebles & Xie 2023 as CogACT uses it: conditioning by a token instead of adaptive norms."""

    def __init__(self, config: HeadConfig, llm_width: int, action_dim: int, chunk: int) -> None:
        super().__init__()
        width = config.width
        self.x_embedder = ActionEmbedder(action_dim, width)
        self.t_embedder = TimeEmbedder(width, config.time_scale)
        self.z_embedder = ConditionEmbedder(llm_width, width)
        self.per_token_embedder = ConditionEmbedder(llm_width, width)
        self.positional_embedding = nn.Parameter(torch.randn(chunk + 1, width) * width**-0.5)
        self.blocks = nn.ModuleList(DiTBlock(width, config.heads) for _ in range(config.depth))
        self.final_layer = FinalLayer(width, action_dim)
        self.initialise()

    def initialise(self) -> None:
        """Xavier for the blocks, N(0, 0.02) for the embedders, zero where a residual should start silent."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, nn.MultiheadAttention):
                nn.init.zeros_(module.out_proj.weight)
        for module in (*self.x_embedder.modules(), *self.t_embedder.modules()):
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        for embedder in (self.z_embedder, self.per_token_embedder):
            nn.init.normal_(embedder.linear.weight, std=0.02)
            nn.init.normal_(embedder.uncondition, std=0.02)
        nn.init.zeros_(self.final_layer.linear.weight)

    def forward(self, noisy: Tensor, time: Tensor, cognition: Tensor, per_token: Tensor) -> Tensor:
        """`cognition` [B, 1, width] and `per_token` [B, D, width] are already embedded."""
        token = cognition + self.t_embedder(time, cognition.dtype)[:, None]
        x = torch.cat([token, self.x_embedder(noisy.to(token.dtype))], dim=1) + self.positional_embedding
        for block in self.blocks:
            x = block(x, per_token)
        return self.final_layer(x)[:, 1:].float()


class ActionModel(nn.Module):
    """The head under the name its checkpoints use (`action_model.net.*`)."""

    def __init__(self, config: HeadConfig, llm_width: int, action_dim: int, chunk: int) -> None:
        super().__init__()
        self.net = DiT(config, llm_width, action_dim, chunk)

    def field(
        self, cognition: Tensor, per_token: Tensor, drops: tuple[Tensor | None, Tensor | None] = (None, None)
    ) -> Velocity:
        """The velocity field under the conditions of B samples, which are embedded once.

        `cognition` [B, 1, llm], `per_token` [B, D, llm], `drops` the samples (bool [B]) whose cognition or
        dynamic tokens are replaced by null tokens. The field takes any number of points per sample.
        """
        z = self.net.z_embedder(cognition, drops[0])
        per = self.net.per_token_embedder(per_token, drops[1])

        def velocity(x: Tensor, time: Tensor) -> Tensor:
            copies = time.numel() // len(z)
            answer = self.net(
                x.flatten(0, -3), time.flatten(), z.repeat(copies, 1, 1), per.repeat(copies, 1, 1)
            )
            return answer.reshape(x.shape)

        return velocity

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        cognition: Tensor,
        per_token: Tensor,
        drops: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> Tensor:
        """Velocities for R draws of each of B samples at once: float32 [R, B, K, 7].

        `noisy` [R, B, K, 7], `time` [R, B], the conditions as in `field`.
        """
        return self.field(cognition, per_token, drops)(noisy, time)
