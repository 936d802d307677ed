"""A Llama that reads an instruction with an image in it.

Takes token ids [B, L] and projected patches [B, P, width], hands on the last hidden states of the text,
[B, L, width], after the final norm. The patches stand between BOS and the rest of the text. Prompts are
right-padded, so under causal attention no real token ever sees a pad: there is no mask to pass.
Parameter names are Hugging Face's below `llm.`; arithmetic after Touvron et al. 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stair.models.config import LlamaConfig


class RMSNorm(nn.Module):
    """Scales each vector to unit root-mean-square, then by a learned weight; the square in fp32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, eps=self.epsilon).to(x.dtype) * self.weight


def rotary_angles(count: int, head_width: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [count, head_width] of rotary position embedding, fp32 (Su et al. 2021)."""
    steps = torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width
    angles = torch.arange(count, device=device, dtype=torch.float32)[:, None] * theta**-steps
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns each (i, i + half) pair of channels of [B, H, N, D] by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat([-second, first], dim=-1) * sin.to(x.dtype)


class LlamaAttention(nn.Module):
    """Causal multi-head attention with rotary positions."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(config.width, config.width, bias=False) for _ in range(4)
        )

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, count, width = x.shape
        split = (batch, count, self.heads, width // self.heads)
        q, k, v = (proj(x).view(split).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, count, width))


class LlamaMlp(nn.Module):
    """SwiGLU."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    """A pre-norm decoder layer."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = LlamaAttention(config)
        self.mlp = LlamaMlp(config)
        self.input_layernorm = RMSNorm(config.width, config.epsilon)
        self.post_attention_layernorm = RMSNorm(config.width, config.epsilon)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(nn.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(LlamaLayer(config) for _ in range(config.depth))
        self.norm = RMSNorm(config.width, config.epsilon)


class CausalLM(nn.Module):
    """The model and its (untied) output head, which action training does not use."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False)


class LlamaBackbone(nn.Module):
    """The language model as STAIR uses it: multimodal prompt in, text hidden states out."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.llm = CausalLM(config)
        self.initialise()

    def initialise(self) -> None:
        """For training from nothing: unit-size words, and layers that start by adding little to them."""
        quiet = (2 * self.config.depth) ** -0.5
        nn.init.normal_(self.llm.model.embed_tokens.weight)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                scale = quiet if name.endswith(("o_proj", "down_proj")) else 1.0
                nn.init.normal_(module.weight, std=scale * module.in_features**-0.5)

    def forward(self, token_ids: Tensor, patches: Tensor) -> Tensor:
        model = self.llm.model
        words = model.embed_tokens(token_ids)
        x = torch.cat([words[:, :1], patches.to(words.dtype), words[:, 1:]], dim=1)
        head_width = self.config.width // self.config.heads
        cos, sin = rotary_angles(x.shape[1], head_width, self.config.rope_theta, x.device)
        for layer in model.layers:
            x = layer(x, cos, sin)
        x = model.norm(x)
        return torch.cat([x[:, :1], x[:, 1 + patches.shape[1] :]], dim=1)
