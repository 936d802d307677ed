"""Facts about Python, STAIR, torch, Apptainer and Slurm become findings. Pure."""

from __future__ import annotations

from stair.doctor.finding import Facts, Finding

OLDEST, NEWEST = (3, 10), (3, 12)


def check_python(facts: Facts) -> list[Finding]:
    """The Python that would run the steps."""
    version = facts["python"]["version"]
    seen = f"Python {'.'.join(map(str, version))} at {facts['python']['executable']}"
    if OLDEST <= tuple(version[:2]) <= NEWEST:
        return [Finding("python.version", "fine", seen)]
    return [
        Finding(
            "python.version",
            "error",
            seen,
            f"STAIR runs on Python {_dots(OLDEST)} to {_dots(NEWEST)}",
            "python3.11 -m venv .venv && .venv/bin/pip install -e '.[train,sim]'",
        )
    ]


def check_stair(facts: Facts) -> list[Finding]:
    """Whether this Python finds the package."""
    stair = facts["stair"]
    if "version" in stair:
        return [Finding("stair.version", "fine", f"STAIR {stair['version']} at {stair['file']}")]
    if "timed_out" in stair:
        return [_no_answer("stair.version", "importing stair", stair["timed_out"])]
    return [
        Finding(
            "stair.version",
            "error",
            "this Python cannot import stair",
            "no step can start",
            "pip install -e .",
        )
    ]


def check_torch(facts: Facts) -> list[Finding]:
    """Whether torch imports, and whether it sees the GPUs that the driver has."""
    torch, gpus = facts["torch"], facts["nvidia"]["devices"]
    if "timed_out" in torch:
        return [_no_answer("torch.import", "importing torch", torch["timed_out"])]
    if "version" not in torch:
        last = (torch.get("err", "").strip().splitlines() or [f"exit {torch.get('code')}"])[-1]
        if "No module named 'torch'" in last:
            return [
                Finding(
                    "torch.import",
                    "warning",
                    "torch is not installed",
                    "plans can be made and sent from here, but steps cannot run in this Python",
                    "pip install -e '.[train]'",
                )
            ]
        return [
            Finding(
                "torch.import",
                "error",
                f"torch is installed but does not import: {last}",
                "training and serving cannot start",
                "reinstall torch; a crash often means libraries of two CUDA versions in LD_LIBRARY_PATH",
            )
        ]
    found = [
        Finding(
            "torch.import", "fine", f"torch {torch['version']}, built for CUDA {torch['built_for'] or '-'}"
        )
    ]
    if torch["cuda"]:
        return [*found, Finding("torch.cuda", "fine", f"torch sees {', '.join(torch['devices'])}")]
    if not gpus:
        return [*found, Finding("torch.cuda", "note", "no GPU: training runs on the CPU")]
    seen = f"the driver has {len(gpus)} GPU(s), torch sees none"
    if facts["variables"].get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        cure = "unset CUDA_VISIBLE_DEVICES: it is set and hides them"
    elif torch["built_for"] is None:
        cure = "install a CUDA build of torch: this one is for the CPU"
    else:
        cure = f"compare the driver with what CUDA {torch['built_for']} needs; in a container, is --nv given?"
    return [*found, Finding("torch.cuda", "error", seen, "training would silently use the CPU", cure)]


def check_apptainer(facts: Facts) -> list[Finding]:
    """The container runtime; before 1.4.0, --nv leaves the Vulkan driver files behind."""
    apptainer = facts["apptainer"]
    if not apptainer["found"]:
        return [Finding("apptainer.version", "note", "no Apptainer: steps run on the host only")]
    if "timed_out" in apptainer:
        return [_no_answer("apptainer.version", "apptainer --version", apptainer["timed_out"])]
    line = apptainer["line"] or apptainer["err"].strip()
    version = _numbers(line)
    if apptainer["code"] or not version:
        return [
            Finding("apptainer.version", "error", f"apptainer does not start: {line}", "images cannot run")
        ]
    if version >= (1, 4):
        return [Finding("apptainer.version", "fine", line)]
    return [
        Finding(
            "apptainer.version",
            "warning",
            line,
            "before 1.4.0, --nv binds the NVIDIA libraries but not the Vulkan and EGL driver files",
            "a newer Apptainer, or bind /usr/share/vulkan/icd.d/nvidia_icd.json in the profile",
        )
    ]


def check_slurm(facts: Facts) -> list[Finding]:
    """Whether jobs could be sent from here."""
    slurm = facts["slurm"]
    if not slurm["found"]:
        return [Finding("slurm.client", "note", "no sbatch: steps run on this machine only")]
    if "timed_out" in slurm:
        return [_no_answer("slurm.client", "sbatch --version", slurm["timed_out"])]
    if slurm["code"]:
        seen = f"sbatch does not start: {slurm['line'] or slurm['err'].strip()}"
        return [Finding("slurm.client", "error", seen, "no job can be sent from here", "check SLURM_CONF")]
    return [Finding("slurm.client", "fine", slurm["line"])]


def _no_answer(id: str, what: str, seconds: float) -> Finding:
    return Finding(
        id,
        "unknown",
        f"{what} gave no answer within {seconds:g} s",
        "a slow file system, or it hangs",
        "run it by hand",
    )


def _numbers(line: str) -> tuple[int, ...]:
    word = next((word for word in line.split() if word[:1].isdigit()), "")
    return tuple(int(part) for part in word.split("-")[0].split(".")[:2] if part.isdigit())


def _dots(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
