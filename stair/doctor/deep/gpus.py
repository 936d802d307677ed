"""Which GPUs there are to measure, and how each is shown alone to a child process.

Takes a fact sheet and the variables, hands on Gpus. The surprise: a job's CUDA_VISIBLE_DEVICES may name them
by number, by UUID or by MIG slice; its own words are handed on one by one, never translated, because numbers
mean what they mean only together with the other variables of the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stair.doctor.finding import Facts
from stair.doctor.sheet import rows


@dataclass(frozen=True)
class Gpu:
    """One GPU of this process, or the CPU in its stead."""

    index: int | None
    """As CUDA counts here; None: there is no GPU, the CPU does the work."""
    name: str = ""
    visible: str = ""
    """CUDA_VISIBLE_DEVICES that shows this one alone."""

    @property
    def variables(self) -> dict[str, str]:
        """What a child is told, so that it sees nothing else."""
        if self.index is None:
            return {}
        return {"CUDA_VISIBLE_DEVICES": self.visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def __str__(self) -> str:
        return "the CPU" if self.index is None else f"GPU {self.index}"


CPU = Gpu(None)


def gpus_of(sheet: Facts, environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that CUDA showed to the probe; where it did not come back, those that the driver lists."""
    given = environment.get("CUDA_VISIBLE_DEVICES")
    tokens = None if given is None else [word.strip() for word in given.split(",") if word.strip()]
    if tokens is not None and (not tokens or tokens[0] in ("-1", "NoDevFiles")):
        return ()
    cuda = sheet.get("cuda")
    answered = isinstance(cuda, Mapping) and not cuda.get("failed") and not cuda.get("code")
    found = rows(sheet, "cuda", "devices") if answered else rows(sheet, "driver", "gpus")
    if not answered and tokens is not None and len(found) > len(tokens):
        # The driver lists the whole node, this job was given some of it.
        return tuple(Gpu(number, "", token) for number, token in enumerate(tokens))
    names = [str(row.get("name") or row.get("model") or "") for row in found]
    if tokens is None or len(tokens) != len(found):
        # Numbers in PCI order, which `variables` asks for, where no UUID was told.
        tokens = [str(row.get("uuid") or number) for number, row in enumerate(found)]
    return tuple(Gpu(number, *pair) for number, pair in enumerate(zip(names, tokens, strict=True)))
