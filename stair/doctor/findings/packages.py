"""Whether the Python packages of a place fit each other, the driver and the GPUs.

Takes versions from metadata; nothing was imported. The surprise: torch for a newer CUDA of the same major
version runs on an older driver (minor-version compatibility), for a newer major version it never does.
"""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.purpose import image_kind, package
from stair.doctor.sheet import asked, rows, section

WITHOUT_PKG_RESOURCES = 82
"""setuptools since which sapien 2.2.2 finds no pkg_resources."""
NEWEST_FOR_SAPIEN2 = (3, 11)
DRIVER_OF_CUDA = {11: "450", 12: "525", 13: "580"}
"""NVIDIA's oldest driver for each major version of CUDA."""
BLACKWELL, FOR_BLACKWELL = (10, 0), (12, 8)
TURING, WITHOUT_OLDER = (7, 5), (13, 0)


def _torch_missing(facts: Facts) -> Iterator[Finding]:
    packages = section(facts, "python").get("packages") or {}
    if image_kind(facts) == "train" and packages and not packages.get("torch"):
        yield Finding(
            "packages.torch-missing",
            "error",
            f"{section(facts, 'python').get('executable')} of a training image has no torch",
            "\"ModuleNotFoundError: No module named 'torch'\" at the first step",
            "build the image anew; its own test (apptainer test) would have told",
            "containers/build train",
        )


def _torch_cpu(facts: Facts) -> Iterator[Finding]:
    there = rows(facts, "cuda", "devices") or rows(facts, "nvml", "gpus") or rows(facts, "driver", "gpus")
    version = str((section(facts, "python").get("packages") or {}).get("torch") or "")
    if (
        not version.endswith("+cpu")
        or not there
        or image_kind(facts) == "eval"
        or facts.get("role") == "login"
    ):
        return
    inside = facts.get("side") == "image"
    bare = not inside and bool(facts.get("image_file"))
    wanted = asked(facts, "gpus_per_node", 0) and asked(facts, "kind") == "train" and not bare
    yield Finding(
        "packages.torch-cpu",
        "error" if wanted else "note",
        f"torch {version} is built for the CPU, and here are {len(there)} GPU(s)",
        "torch.cuda.is_available() is False, 'Torch not compiled with CUDA enabled': training runs on the "
        "CPU",
        "use the image of variant cuda, or install torch from the index of a CUDA version",
        "containers/build train cuda"
        if inside
        else "pip install torch --index-url https://download.pytorch.org/whl/cu128",
    )


def _torch_driver(facts: Facts) -> Iterator[Finding]:
    built, offered = _built_for(facts), tuple(section(facts, "cuda").get("driver_api") or ())
    if not built or not offered or built <= offered:
        return
    driver = section(facts, "driver").get("version") or "?"
    major = built[0] > offered[0]
    yield Finding(
        "packages.torch-driver",
        "error" if major else "warning",
        f"torch is built for CUDA {_dots(built)}, driver {driver} offers CUDA {_dots(offered)}",
        "'The NVIDIA driver on your system is too old (found version "
        f"{offered[0] * 1000 + offered[-1] * 10})', torch.cuda.is_available() is False"
        if major
        else "most of it runs (minor-version compatibility); kernels compiled at run time may not: CUDA "
        "error 222 'the provided PTX was compiled with an unsupported toolchain'",
        f"an image whose torch is built for CUDA {offered[0]}.x; or the administrator updates the driver"
        + (f" to {DRIVER_OF_CUDA[built[0]]} or newer" if major and built[0] in DRIVER_OF_CUDA else ""),
        f"pip install torch --index-url https://download.pytorch.org/whl/cu{offered[0]}{offered[-1]}",
    )


def _torch_kernels(facts: Facts) -> Iterator[Finding]:
    built = _built_for(facts)
    for device in rows(facts, "cuda", "devices"):
        capability = tuple(device.get("capability") or ())
        new = capability >= BLACKWELL and built < FOR_BLACKWELL
        old = capability < TURING and built >= WITHOUT_OLDER
        if built and capability and (new or old):
            yield Finding(
                "packages.torch-kernels",
                "error",
                f"torch for CUDA {_dots(built)} holds no kernels for {device.get('name')} "
                f"(sm_{capability[0]}{capability[-1]})",
                "'no kernel image is available for execution on the device' (CUDA error 209) at the first "
                "operation",
                "an image with torch for CUDA 12.8 or newer" if new else "an image with torch for CUDA 12.6",
                "pip install torch --index-url "
                f"https://download.pytorch.org/whl/{'cu128' if new else 'cu126'}",
            )
            return


def _setuptools(facts: Facts) -> Iterator[Finding]:
    setuptools = package(facts, "setuptools")
    if package(facts, "sapien")[:1] == (2,) and setuptools and setuptools[0] >= WITHOUT_PKG_RESOURCES:
        yield Finding(
            "packages.setuptools",
            "error",
            f"setuptools {_dots(setuptools)} beside sapien {_dots(package(facts, 'sapien'))}",
            "\"ModuleNotFoundError: No module named 'pkg_resources'\" when sapien is imported",
            "an older setuptools; our images have one",
            "pip install 'setuptools<81'",
        )


def _numpy(facts: Facts) -> Iterator[Finding]:
    sapien, numpy = package(facts, "sapien"), package(facts, "numpy")
    if sapien[:1] == (2,) and numpy and numpy[0] >= 2:
        yield Finding(
            "packages.numpy",
            "error",
            f"numpy {_dots(numpy)} beside sapien {_dots(sapien)}",
            "'numpy.core.multiarray failed to import', 'A module that was compiled using NumPy 1.x cannot be "
            "run in NumPy 2': SAPIEN 2 is built for numpy 1",
            "an older numpy and gymnasium; our images have them",
            "pip install 'numpy<2' 'gymnasium<1'",
        )


def _python_of_sapien2(facts: Facts) -> Iterator[Finding]:
    sapien, python = package(facts, "sapien"), section(facts, "python")
    version = tuple(python.get("version") or ())[:2]
    if sapien[:1] == (2,) and version > NEWEST_FOR_SAPIEN2:
        yield Finding(
            "packages.python",
            "error",
            f"Python {_dots(version)} beside sapien {_dots(sapien)}",
            "'No matching distribution found for sapien==2.2.2', undefined symbols at import: SAPIEN 2 has "
            "wheels up to Python 3.11",
            "an environment with Python 3.10 or 3.11; our images have one",
            "python3.11 -m venv .venv",
        )


def _built_for(facts: Facts) -> tuple[int, ...]:
    """(12, 8) of torch 2.8.0+cu128; empty where it is not told."""
    version = str((section(facts, "python").get("packages") or {}).get("torch") or "")
    digits = version.partition("+cu")[2]
    return (int(digits[:-1]), int(digits[-1])) if len(digits) > 1 and digits.isdigit() else ()


def _dots(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


CHECKS = (
    Check("packages.torch-missing", "torch in an image for training", _torch_missing, where="image"),
    Check("packages.torch-cpu", "a torch for CUDA where GPUs are", _torch_cpu),
    Check("packages.torch-driver", "a driver new enough for torch's CUDA", _torch_driver),
    Check("packages.torch-kernels", "a torch with kernels for these GPUs", _torch_kernels),
    Check("packages.setuptools", "a setuptools that SAPIEN 2 can use", _setuptools),
    Check("packages.numpy", "a numpy that SAPIEN 2 can use", _numpy),
    Check("packages.python", "a Python that SAPIEN 2 can use", _python_of_sapien2),
)
