"""The oformer: queries read the instruction's hidden states and predict the dynamic tokens.

Takes text states [B, L, llm] and their padding mask [B, L], hands on [B, queries, llm]: what the projected
dynamic encoder would have said, from what the language model saw in one image. Only real tokens are read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stair.models.config import OformerConfig
from stair.models.parts.attention import Mlp, SelfAttention


class CrossAttention(nn.Module):
    """Queries [B, Q, width] attend to the unmasked of [B, L, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        batch, queries, width = x.shape
        q = self.q(x).view(batch, queries, self.heads, -1).transpose(1, 2)
        kv = self.kv(memory).view(batch, memory.shape[1], 2, self.heads, -1)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self.proj(mixed.transpose(1, 2).reshape(batch, queries, width))


class OformerLayer(nn.Module):
    """Self-attention among the queries, cross-attention to the text, MLP; pre-norm."""

    def __init__(self, config: OformerConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attn = SelfAttention(width, config.heads)
        self.cross_attn = CrossAttention(width, config.heads)
        self.mlp = Mlp(width, config.mlp_width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.norm1(x))
        x = x + self.cross_attn(self.norm2(x), memory, mask)
        return x + self.mlp(self.norm3(x))


class Oformer(nn.Module):
    """A query transformer after Li et al. 2023 (BLIP-2), without word embeddings or pooler."""

    def __init__(self, config: OformerConfig, queries: int, llm_width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, queries, config.width) * 0.02)
        self.input = nn.Linear(llm_width, config.width)
        self.layers = nn.ModuleList(OformerLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, llm_width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        memory = self.input(states)
        x = self.queries.expand(len(states), -1, -1)
        for layer in self.layers:
            x = layer(x, memory, mask)
        return self.output(self.norm(x))
