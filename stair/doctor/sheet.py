"""How a fact sheet is read by those who judge it.

Takes a sheet of probe.py, perhaps of another version, perhaps with sections whose probe did not come back.
The surprise: a section that is absent and one that failed read the same, as empty; whether it failed is
asked apart, so that a check need not think of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stair.doctor.finding import Facts

CONTROL_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm")


def section(facts: Facts, name: str) -> Mapping[str, Any]:
    """The section as a mapping; empty where it is absent, null or failed."""
    found = facts.get(name)
    return found if isinstance(found, Mapping) and "failed" not in found else {}


def rows(facts: Facts, *names: str) -> list[Mapping[str, Any]]:
    """The list under these keys, one inside the other; empty where any of them is absent or failed."""
    found: Any = facts
    for name in names:
        if not isinstance(found, Mapping) or "failed" in found:
            return []
        found = found.get(name)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def failed(facts: Facts, name: str) -> str:
    """What happened to a section's probe; empty where it came back."""
    found = facts.get(name)
    return str(found["failed"]) if isinstance(found, Mapping) and "failed" in found else ""


def timed_out(facts: Facts, name: str) -> bool:
    """Whether a section's probe was ended because it gave no answer in time."""
    found = facts.get(name)
    return isinstance(found, Mapping) and "failed" in found and found.get("how") == "timeout"


def asked(facts: Facts, name: str, default: Any = None) -> Any:
    """What the visit's request says, such as `gpus_per_node`; `default` where nothing is asked."""
    request = facts.get("request")
    found = request.get(name) if isinstance(request, Mapping) else None
    return default if found is None else found


def shared(facts: Facts) -> bool:
    """Whether this is a container whose host is judged as well, and tells of what the two share."""
    return facts.get("around") is not None


def spared(facts: Facts) -> bool:
    """Whether GPUs are not judged here: on a login node, and in a container whose host tells of them."""
    return shared(facts) or facts.get("role") == "login"


def needs_gpu(facts: Facts) -> bool:
    """Whether what is to run here cannot do without an NVIDIA GPU."""
    return bool(asked(facts, "gpus_per_node", 0)) or asked(facts, "render", "") == "nvidia"


def gpus_seen(facts: Facts) -> int | None:
    """How many GPUs a program can use here: by CUDA, else NVML, else the device files; None: not known."""
    for name, key in (("cuda", "devices"), ("nvml", "gpus")):
        found = section(facts, name)
        if found and not found.get("code"):
            return len(rows(facts, name, key))
    if failed(facts, "cuda") or failed(facts, "nvml") or "driver" not in facts or failed(facts, "driver"):
        return None
    return sum(not node.get("errno") for node in gpu_nodes(facts))


def gpu_nodes(facts: Facts) -> list[Mapping[str, Any]]:
    """The device files of single GPUs, /dev/nvidia0 and on."""
    found = rows(facts, "driver", "nodes")
    return [node for node in found if str(node.get("path", "")).removeprefix("/dev/nvidia").isdigit()]


def control_nodes(facts: Facts) -> list[Mapping[str, Any]]:
    """The device files that all GPUs share, without which nothing works."""
    return [node for node in rows(facts, "driver", "nodes") if node.get("path") in CONTROL_NODES]
