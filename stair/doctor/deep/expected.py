"""What a healthy GPU of each model reaches, by the name that CUDA gives it.

The numbers are those of NVIDIA's public data sheets: dense rates (half of those printed "with sparsity"),
bf16 and TF32 on tensor cores with float32 sums, bandwidth of the memory, and of PCI Express in one direction.
Nothing reaches them; what a sound device stays above is a fraction of them, said below with its reason.
The surprise: names are compared whole. "NVIDIA H100 80GB HBM3" is the SXM module, "... MIG 1g.10gb" a slice
of it, and a model that is not listed is not judged.
"""

from __future__ import annotations

from dataclasses import dataclass

MATMUL_FRACTION = 0.4
"""Large products reach 55-95 % of the sheet, cards held back by their power (H100 PCIe, L40S) the least.
Below 40 % clocks are cut: heat, a power brake, a lowered limit, or somebody else computes on the GPU too."""
MEMORY_FRACTION = 0.6
"""Copies reach 75-93 % of the sheet."""
LINK_FRACTION = 0.35
"""Pinned copies reach about 85 % of the sheet; a card in a slot one generation older has 42 % and is let be.
Below it, lanes are lost (x8, x4) or memory of the far socket is read."""


@dataclass(frozen=True)
class Expected:
    """The data sheet of one model."""

    bf16_tflops: float
    tf32_tflops: float
    memory_gb_s: float
    """Read and written bytes counted both."""
    link_gb_s: float
    """PCI Express, one direction."""


_GEN4, _GEN5 = 32.0, 64.0

MODELS: dict[str, Expected] = {
    "NVIDIA H100 80GB HBM3": Expected(989, 495, 3350, _GEN5),
    "NVIDIA H100 PCIe": Expected(756, 378, 2000, _GEN5),
    "NVIDIA H100 NVL": Expected(835, 417, 3900, _GEN5),
    "NVIDIA H200": Expected(989, 495, 4800, _GEN5),
    "NVIDIA H200 NVL": Expected(835, 417, 4800, _GEN5),
    "NVIDIA B200": Expected(2250, 1125, 7700, _GEN5),
    "NVIDIA A100-SXM4-40GB": Expected(312, 156, 1555, _GEN4),
    "NVIDIA A100-SXM4-80GB": Expected(312, 156, 2039, _GEN4),
    "NVIDIA A100-PCIE-40GB": Expected(312, 156, 1555, _GEN4),
    "NVIDIA A100 80GB PCIe": Expected(312, 156, 1935, _GEN4),
    "NVIDIA L40S": Expected(362, 183, 864, _GEN4),
    "NVIDIA A40": Expected(149.7, 74.8, 696, _GEN4),
    "NVIDIA GeForce RTX 4090": Expected(165, 82.6, 1008, _GEN4),
    "NVIDIA RTX 6000 Ada Generation": Expected(364, 182, 960, _GEN4),
}
