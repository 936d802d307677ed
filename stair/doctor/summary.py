"""What a place is, in a few words: said when nothing is wrong, and the columns of the table of nodes.

Takes a Visit, hands on names and values. Pure. The surprise: what is not known is left out, since whether
that is a fault is for the checks to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stair.doctor.finding import Facts
from stair.doctor.sheet import rows, section
from stair.doctor.visit import Visit

GB = 1000.0
"""MB"""
WORDED = {
    "GPU": "{}",
    "driver": "driver {}",
    "CUDA": "{}",
    "Vulkan": "Vulkan {}",
    "network": "{}",
    "cores": "{}",
    "memory": "{} memory",
    "/dev/shm": "{} /dev/shm",
    "system": "{}",
    "kernel": "kernel {}",
    "image": "{}",
    "Apptainer": "Apptainer {}",
}
"""The traits by which nodes are compared, what tells most first, and how each is said in a sentence."""


def summarize(visit: Visit) -> dict[str, str]:
    """Three to six lines about a place, and one more of what was measured; the name of each and its words."""
    known = traits(visit)
    host = ", ".join(filter(None, (known.get("system"), known.get("cores"), known.get("memory"))))
    gpu = ", ".join(
        filter(
            None,
            (known.get("GPU"), known.get("driver", "") and f"driver {known['driver']}", known.get("CUDA")),
        )
    )
    lines = {"host": host, "GPU": gpu or ("none, and no NVIDIA driver" if visit.host else "")}
    lines |= {name: known.get(name, "") for name in ("Vulkan", "image", "Apptainer", "Slurm")}
    lines["measured"] = _measured(visit.deep or {})
    return {name: value for name, value in lines.items() if value}


def traits(visit: Visit) -> dict[str, str]:
    """Everything by which nodes may differ, each in a few words."""
    host = visit.host or {}
    found = {
        "GPU": _gpus(host),
        "driver": str(section(host, "driver").get("version") or ""),
        "CUDA": _cuda(host),
        "Vulkan": _vulkan(visit.image or host, inside=visit.image is not None),
        "system": _system(host),
        "kernel": str(section(host, "system").get("kernel") or ""),
        "cores": _cores(host),
        "memory": _memory(host),
        "/dev/shm": _size(section(host, "shm").get("total_mb")),
        "network": _network(host),
        "image": _image(visit),
        "Apptainer": _version(section(host, "apptainer")),
        "Slurm": _slurm(host),
    }
    return {name: value for name, value in found.items() if value}


def differing(visits: Sequence[Visit]) -> tuple[list[str], list[str]]:
    """What the nodes that were seen have in common, in words, and the names of the traits in which they
    differ. A login host differs from nodes as a matter of course: it counts only where it is not one of many.
    """
    seen = [visit for visit in visits if visit.host is not None]
    nodes = [visit for visit in seen if visit.role == "compute"]
    known = [traits(visit) for visit in (nodes if len(nodes) > 1 else seen)]
    values = {name: {each.get(name, "") for each in known} for name in WORDED}
    words = [
        WORDED[name].format(*found) for name, found in values.items() if len(found) == 1 and found != {""}
    ]
    return words, [name for name, found in values.items() if len(found) > 1]


def _gpus(host: Facts) -> str:
    names: Iterable[str] = ()
    sources: tuple[Callable[[], Iterable[str]], ...] = (
        lambda: _names(rows(host, "nvml", "gpus"), "name"),
        lambda: _names(rows(host, "driver", "gpus"), "model"),
        lambda: _names(rows(host, "cuda", "devices"), "name"),
    )
    for source in sources:
        names = list(source())
        if names:
            break
    return ", ".join(f"{count} × {name}" for name, count in Counter(names).items())


def _names(found: Iterable[Mapping[str, Any]], key: str) -> Iterable[str]:
    return (str(each[key]) for each in found if each.get(key))


def _cuda(host: Facts) -> str:
    version = section(host, "cuda").get("driver_api")
    return f"CUDA {'.'.join(map(str, version))}" if isinstance(version, list) else ""


def _vulkan(sheet: Facts, *, inside: bool) -> str:
    words = []
    for device in rows(sheet, "vulkan", "devices"):
        # Mesa says its LLVM in the name and in the version of the driver; nobody asks for it.
        name, driver = (str(device.get(key) or "").partition(" (")[0] for key in ("name", "driver_info"))
        words.append(f"{name} ({driver})" if driver else name)
    counted = [f"{count} × {word}" if count > 1 else word for word, count in Counter(words).items()]
    return ", ".join(counted) + (" in the image" if counted and inside else "")


def _system(host: Facts) -> str:
    return str(section(host, "system").get("distribution") or "")


def _cores(host: Facts) -> str:
    cpu = section(host, "cpu")
    if not cpu.get("count"):
        return ""
    mine = len(cpu.get("affinity") or ()) or cpu["count"]
    return f"{cpu['count']} cores" if mine >= cpu["count"] else f"{mine} of {cpu['count']} cores"


def _memory(host: Facts) -> str:
    memory = section(host, "memory")
    total, limit = memory.get("total_mb"), memory.get("limit_mb")
    if not total:
        return ""
    return f"{_size(limit)} of {_size(total)}" if limit and limit < total else _size(total)


def _size(megabytes: float | None) -> str:
    if not megabytes:
        return ""
    return f"{megabytes:.0f} MB" if megabytes < GB else f"{megabytes / GB:.0f} GB"


def _network(host: Facts) -> str:
    found = Counter(
        f"{port.get('rate', '?')}"
        for port in rows(host, "network", "infiniband")
        if port.get("state") == "ACTIVE"
    )
    return ", ".join(f"{count} × {rate}" for rate, count in found.items())


def _image(visit: Visit) -> str:
    file = visit.image_file or {}
    if not file or file.get("trouble"):
        return ""
    labels = file.get("labels") or {}
    words = [" ".join(filter(None, (labels.get("stair.kind"), labels.get("stair.variant"))))]
    for word, label in (("STAIR", "version"), ("Python", "python"), ("torch", "torch"), ("Mesa", "mesa")):
        if labels.get(f"stair.{label}"):
            words.append(f"{word} {labels[f'stair.{label}']}")
    name = str(file.get("path", "")).rpartition("/")[2]
    return f"{name}: {', '.join(filter(None, words))}" if any(words) else name


def _version(tool: Mapping[str, Any]) -> str:
    return str(tool.get("version") or "") if tool.get("found") else ""


def _slurm(host: Facts) -> str:
    slurm = section(host, "slurm")
    version = _version(slurm)
    job = slurm.get("job") or {}
    if not version or not job.get("id"):
        return version
    got = [f"{job[key]} {word}" for key, word in (("cpus", "CPUs"), ("gpus", "GPUs")) if job.get(key)]
    return f"{version}, job {job['id']}" + (f" with {' and '.join(got)}" if got else "")


def _measured(deep: Facts) -> str:
    """The numbers of `--deep`: of several devices the slowest, which is the one that all wait for."""
    words = [
        f"image starts in {each['median']:.1f} s" for each in rows(deep, "container") if each.get("median")
    ]
    pictures = rows(deep, "draw")
    if pictures:
        good = sum(bool(each.get("ok")) for each in pictures)
        words.append(f"{good} of {len(pictures)} pictures good")
    devices = rows(deep, "compute")
    for name in dict.fromkeys(key for each in devices for key in each if key.endswith(("_tflops", "_gb_s"))):
        rate = min((each[name] for each in devices if isinstance(each.get(name), (int, float))), default=None)
        if rate is None:
            continue
        kind, _, unit = name.partition("_")
        words.append(f"{kind} {_short(rate)} {'TFLOP/s' if unit == 'tflops' else 'GB/s'}")
    if (rate := section(deep, "all_reduce").get("bus_gb_s")) is not None:
        words.append(f"all-reduce {rate:.3g} GB/s")
    return ", ".join(words)


def _short(number: float) -> str:
    """612, 2,900, 0.147."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
