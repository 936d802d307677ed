"""Facts about the NVIDIA driver become findings. Pure.

The order of cause: the kernel module, then the device files, then the tools. A machine without any of
them has no trouble, only no GPU.
"""

from __future__ import annotations

from stair.doctor.finding import Facts, Finding


def check_driver(facts: Facts) -> list[Finding]:
    """Kernel module, device files and nvidia-smi, the first broken one named."""
    nvidia = facts["nvidia"]
    module, devices, smi = nvidia["module"], nvidia["devices"], nvidia["smi"]
    if not (module or devices or smi["found"]):
        return [Finding("gpu.driver", "note", "no NVIDIA driver on this machine")]
    if not devices:
        return [
            Finding(
                "gpu.devices",
                "error" if module else "warning",
                "the NVIDIA driver is here, but there is no /dev/nvidia0",
                "neither CUDA nor rendering reaches a GPU from this process",
                "ask for a GPU on a cluster (--gres=gpu:1), --nv in a container; as root: nvidia-modprobe -u",
            )
        ]
    if not smi["found"]:
        seen = f"{len(devices)} GPU(s), but no nvidia-smi"
        return [Finding("gpu.smi", "warning", seen, "versions cannot be compared", "bind it with --nv")]
    if "timed_out" in smi:
        seen = f"nvidia-smi gave no answer within {smi['timed_out']:g} s"
        return [
            Finding(
                "gpu.smi",
                "error",
                seen,
                "a GPU of this node hangs",
                "another node (--exclude), and tell its admin",
            )
        ]
    said = (smi["out"].strip() or smi["err"].strip()).splitlines() or [f"exit {smi['code']}"]
    if "version mismatch" in " ".join(said):
        return [
            Finding(
                "gpu.mismatch",
                "error",
                said[0],
                "the driver's libraries were updated under the running kernel module",
                "reboot or drain the node; in an image, remove driver libraries that were baked in",
            )
        ]
    if smi["code"]:
        return [
            Finding(
                "gpu.smi",
                "error",
                f"nvidia-smi fails: {said[0]}",
                "no GPU work will run here",
                "see its message",
            )
        ]
    return [Finding("gpu.driver", "fine", f"GPU {line}") for line in said]
