"""CUDA as programs open it: which GPUs it is let to see, and what its first call answers.

Takes one fact sheet. The surprise: CUDA counts what CUDA_VISIBLE_DEVICES leaves it and stops at the first
name in it that does not exist, without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.job import count, job_of
from stair.doctor.sheet import failed, needs_gpu, rows, section, shared, spared, timed_out

HIDDEN = ("", "-1", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES that leave no GPU; Slurm sets the last for a job without any."""
_CAUSES = (
    "driver.",
    "gpu.prohibited",
    "cuda.hidden",
    "libraries.no-nv",
    "libraries.baked-driver",
    "libraries.driver-version",
    "libraries.two-libcuda",
)
CUDA: dict[str, tuple[tuple[int, ...], str, str, str]] = {
    "cuda.fabric-manager": (
        (802,),
        "CUDA error 802 'system not yet initialized': the machine has NVSwitches (HGX, DGX), and the service "
        "that sets them up, nvidia-fabricmanager, does not run or is of another version than the driver",
        "the administrator starts it, in the driver's very version; until then another node",
        "systemctl status nvidia-fabricmanager",
    ),
    "cuda.mismatch": (
        (803,),
        "CUDA error 803 'system has unsupported display driver / cuda driver combination': libcuda.so.1 and "
        "the kernel module are of different versions, or a libcuda was baked into the image",
        "the administrator reboots the node; in an image remove libcuda.so* (--nv brings the host's)",
        "ldconfig -p | grep libcuda.so",
    ),
    "cuda.compat": (
        (804,),
        "CUDA error 804 'forward compatibility was attempted on non supported HW': a libcuda of the package "
        "cuda-compat is found first; it works on data-centre GPUs only",
        "remove the compat folder from LD_LIBRARY_PATH",
        "export LD_LIBRARY_PATH=$(echo $LD_LIBRARY_PATH | tr : '\\n' | grep -v compat | paste -sd:)",
    ),
    "cuda.stub": (
        (34,),
        "CUDA error 34 'CUDA driver is a stub library': the libcuda of a toolkit's folder lib64/stubs is "
        "found first",
        "remove the stubs folder from LD_LIBRARY_PATH",
        "ldconfig -p | grep libcuda.so",
    ),
    "cuda.no-device": (
        (100, 101),
        "CUDA error 100 'no CUDA-capable device is detected', torch.cuda.is_available() is False",
        "ask for a GPU (--gres=gpu:1); in a container give --nv; look at CUDA_VISIBLE_DEVICES",
        "nvidia-smi -L; echo $CUDA_VISIBLE_DEVICES",
    ),
    "cuda.unavailable": (
        (46, 2),
        "'all CUDA-capable devices are busy or unavailable' (CUDA error 46) or 'out of memory' (2) when it "
        "is opened: another process holds the GPU alone, or all of its memory; or addresses are limited "
        "(ulimit -v)",
        "end the other process, or take another GPU",
        "nvidia-smi",
    ),
    "cuda.init": (
        (3, 304, 999, 1, 36, 214, 719),
        "cuInit fails alike in every program: 'initialization error' (3), 'OS call failed' (304), 'unknown "
        "error' (999); often nvidia_uvm after a suspend or a driver update, or a GPU that wants a reset",
        "nvidia-modprobe -c 0 -u as root, or reboot the node; until then another node",
        "dmesg | grep -i nvrm | tail",
    ),
}
"""Id → CUDA's error codes, what they mean, what cures it. What has no line of its own is `cuda.init`."""


def _hidden(facts: Facts) -> Iterator[Finding]:
    value = section(facts, "variables").get("CUDA_VISIBLE_DEVICES")
    there = rows(facts, "nvml", "gpus") or rows(facts, "driver", "gpus")
    if (
        value not in HIDDEN
        or not there
        or facts.get("role") == "login"
        or (shared(facts) and _host_hides(facts))
    ):
        return
    yield Finding(
        "cuda.hidden",
        "error" if needs_gpu(facts) else "warning",
        f"CUDA_VISIBLE_DEVICES is set to {value!r}, which hides all {len(there)} GPU(s)",
        "torch.cuda.is_available() is False, 'No CUDA GPUs are available', CUDA error 100 'no CUDA-capable "
        "device is detected', though nvidia-smi lists them",
        "unset it; if Slurm has set it, the job asked for no GPU: --gres=gpu:1",
        "unset CUDA_VISIBLE_DEVICES",
    )


def _cuda_hangs(facts: Facts) -> Iterator[Finding]:
    if not spared(facts) and failed(facts, "cuda"):
        hangs = timed_out(facts, "cuda")
        yield Finding(
            "cuda.hangs",
            "error" if hangs else "unknown",
            f"opening CUDA {'gives no answer' if hangs else 'did not come back'}: {failed(facts, 'cuda')}",
            "every CUDA program hangs or crashes at its first call: a GPU that is stuck, "
            "nvidia-fabricmanager, or a libcuda of another machine",
            "another node, and tell the administrator",
            "timeout 30 nvidia-smi; dmesg | grep -i nvrm | tail",
        )


def _cuda(id: str) -> Callable[[Facts], Iterator[Finding]]:
    known = {code for codes, *_ in CUDA.values() for code in codes}
    codes, means, cure, command = CUDA[id]

    def judge(facts: Facts) -> Iterator[Finding]:
        cuda = section(facts, "cuda")
        code = cuda.get("code") or 0
        if facts.get("role") == "login" or (
            shared(facts) and section(facts["around"], "cuda").get("code") == code
        ):
            return
        if code in codes or (id == "cuda.init" and code and code not in known):
            yield Finding(
                id,
                "error",
                f"CUDA cannot be opened: {cuda.get('error') or 'no message'} (CUDA error {code})",
                means,
                cure,
                command,
            )

    return judge


def _fewer(facts: Facts) -> Iterator[Finding]:
    cuda = section(facts, "cuda")
    wanted = section(facts, "variables").get("CUDA_VISIBLE_DEVICES")
    seen, there = len(rows(facts, "cuda", "devices")), len(rows(facts, "nvml", "gpus"))
    if (
        spared(facts)
        or not cuda
        or cuda.get("code")
        or wanted in HIDDEN
        or any(gpu.get("mig") for gpu in rows(facts, "nvml", "gpus"))
    ):
        return
    expected = len(str(wanted).split(",")) if wanted is not None else there
    counted = wanted == ",".join(map(str, range(expected))) and count(job_of(facts).get("gpus")) == expected
    if seen >= expected or counted:
        return  # of what Slurm has counted so, slurm.job-gpus tells
    named = f"CUDA_VISIBLE_DEVICES={wanted}" if wanted is not None else f"{there} in NVML"
    yield Finding(
        "cuda.fewer",
        "error",
        f"CUDA sees {seen} GPU(s), expected {expected} ({named})",
        "CUDA stops at the first name in CUDA_VISIBLE_DEVICES that it does not find: 'invalid device "
        "ordinal' (CUDA error 101) in the later ranks",
        "unset the variable inside a job: Slurm has set it, and counts from 0 where its cgroup hides the "
        "others",
        "unset CUDA_VISIBLE_DEVICES; nvidia-smi -L",
    )


def _host_hides(facts: Facts) -> bool:
    return section(facts["around"], "variables").get("CUDA_VISIBLE_DEVICES") in HIDDEN


CHECKS = (
    Check("cuda.hidden", "CUDA_VISIBLE_DEVICES hides no GPU", _hidden),
    Check("cuda.hangs", "CUDA opens in time", _cuda_hangs, ("driver.",)),
    *(
        Check(id, f"CUDA opens without error {', '.join(map(str, codes[:3]))}", _cuda(id), _CAUSES)
        for id, (codes, *_) in CUDA.items()
    ),
    Check("cuda.fewer", "CUDA sees every GPU it shall see", _fewer, ("driver.", "gpu.missing")),
)
