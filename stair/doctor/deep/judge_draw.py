"""Pictures become findings: one for all GPUs that fail alike, another cure where a neighbour draws. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stair.doctor.deep.measured import ENGINES, device_of, measured_here, unmeasured
from stair.doctor.finding import Facts, Finding

SLOW_DRAW_S = 60.0
"""A picture takes 5 s on a quiet node, nearly all of it loading SAPIEN and compiling shaders."""

Fact = Mapping[str, Any]


def judge_draw(facts: Facts) -> Iterator[Finding]:
    id = "deep.draw"
    yield from unmeasured(id, facts, "draw", "no picture was drawn", "--image with an evaluation image")
    drawn = measured_here(facts, "draw")
    for engine in dict.fromkeys(str(fact.get("engine")) for fact in drawn):
        name, mine = ENGINES.get(engine, engine), [f for f in drawn if f.get("engine") == engine]
        good = [fact for fact in mine if fact.get("ok")]
        for error in dict.fromkeys(str(f.get("error")) for f in mine if f.get("ok") is False):
            bad = [fact for fact in mine if fact.get("ok") is False and str(fact.get("error")) == error]
            yield _not_drawn(name, bad, good, error)
        for error in dict.fromkeys(str(f.get("error")) for f in mine if f.get("ok") is None):
            yield Finding(id, "unknown", f"{name} could not be tried: {error}", cure="see the words above")
        for fact in good:
            seconds = fact.get("draw_s") or 0.0
            if seconds > SLOW_DRAW_S:
                yield Finding(
                    id,
                    "warning",
                    f"{name} on {device_of(fact)} took {seconds:.0f} s for its first picture, 5 s are usual",
                    "every simulator process of an evaluation starts as slowly, if it is not given up before",
                    "is the node full, or the image on a slow disk? fewer workers, or copy it to the node",
                )


def _not_drawn(name: str, bad: Sequence[Fact], good: Sequence[Fact], error: str) -> Finding:
    where = ", ".join(device_of(fact) for fact in bad)
    seen = f"{name} draws nothing on {where}: {error}"
    if good:
        means = (
            f"{', '.join(device_of(fact) for fact in good)} can: it is this GPU or what belongs to it alone. "
            "Simulators there hang at readback, or end with waitForFences: ErrorDeviceLost"
        )
        cure = (
            "leave it out (CUDA_VISIBLE_DEVICES of the others), tell the admin; its reset or the driver anew"
        )
        return Finding("deep.draw", "error", seen, means, cure)
    hang = any(fact.get("timed_out") for fact in bad)
    means = (
        "simulators will hang here without a word"
        if hang
        else "simulators will die here: 'Segmentation fault', 'Vulkan is incompatible with your driver'"
    )
    on_cpu = all(fact.get("choice") == "cpu" for fact in bad)
    cure = "another node; an evaluation can draw on the CPU: --layout cpu-render"
    if on_cpu:
        cure = "the image draws on a sound node: containers/build eval makes it anew, or use another node"
    return Finding("deep.draw", "error", seen, means, cure)
