"""Rates become findings: wrong products are errors, those far below the model's data sheet warnings. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.deep import expected
from stair.doctor.deep.expected import MODELS
from stair.doctor.deep.measured import device_of, measured_here, unmeasured
from stair.doctor.finding import Facts, Finding

RATES = {"bf16_tflops": "bf16", "tf32_tflops": "TF32"}


def judge_matmul(facts: Facts) -> Iterator[Finding]:
    id = "deep.matmul"
    yield from unmeasured(id, facts, "compute", "no rates were measured", "--image with a training image")
    for fact in measured_here(facts, "compute"):
        where = device_of(fact)
        if fact.get("wrong"):
            yield Finding(
                id,
                "error",
                f"{where} multiplies wrongly in {', '.join(fact['wrong'])}",
                "training on it gives numbers that are wrong without any error",
                "do not use this GPU, tell the admin; memory errors and Xid messages may show why",
                "nvidia-smi -q -d ECC",
            )
        if fact.get("error"):
            taken = any(word in str(fact["error"]) for word in ("out of memory", "busy"))
            level = "unknown" if fact.get("no_torch") or taken else "error"
            yield Finding(
                id,
                level,
                f"{where} could not be measured: {fact['error']}",
                "" if level == "unknown" else "training will not run on it either",
                "is it busy? nvidia-smi shows by whom" if level == "unknown" else "another node",
            )
        sheet = MODELS.get(str(fact.get("name")))
        slow = [
            f"{kind} {fact[rate]:.0f} of {getattr(sheet, rate):g} TFLOP/s"
            for rate, kind in RATES.items()
            if sheet and fact.get(rate) and fact[rate] < expected.MATMUL_FRACTION * getattr(sheet, rate)
        ]
        if slow:
            yield Finding(
                id,
                "warning",
                f"{where} ({fact['name']}) multiplies slowly: {', '.join(slow)} of its data sheet",
                f"sound ones reach {expected.MATMUL_FRACTION:.0%} and more; all others of a run wait for it",
                "why are its clocks low (heat, power, a limit), and does somebody else compute on it?",
                "nvidia-smi -q -d PERFORMANCE,CLOCK,POWER",
            )


def judge_copy(facts: Facts) -> Iterator[Finding]:
    for fact in measured_here(facts, "compute"):
        sheet = MODELS.get(str(fact.get("name")))
        memory, link = fact.get("memory_gb_s"), fact.get("host_to_device_gb_s")
        if sheet and memory and memory < expected.MEMORY_FRACTION * sheet.memory_gb_s:
            yield Finding(
                "deep.copy",
                "warning",
                f"memory of {device_of(fact)} copies {memory:.0f} of {sheet.memory_gb_s:g} GB/s",
                f"sound ones reach {expected.MEMORY_FRACTION:.0%} and more",
                "does somebody else use it? memory clocks, remapped rows and ECC errors tell more",
                "nvidia-smi -q -d CLOCK,ECC,ROW_REMAPPER",
            )
        if sheet and link and link < expected.LINK_FRACTION * sheet.link_gb_s:
            yield Finding(
                "deep.copy",
                "warning",
                f"{device_of(fact)} is fed {link:.1f} of {sheet.link_gb_s:g} GB/s from pinned memory",
                "its PCI Express link has lost lanes or speed, or memory of the other socket is read: "
                "batches arrive late, data loading looks slow",
                "compare the link's current with its maximal width; bind processes to the GPU's socket",
                "nvidia-smi --query-gpu=index,pcie.link.gen.current,pcie.link.gen.max,"
                "pcie.link.width.current,pcie.link.width.max --format=csv",
            )
