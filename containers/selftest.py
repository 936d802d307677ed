"""Self-test of the train image, run inside of it by `apptainer test`; needs no GPU.

Holds what is installed against the lock that it was installed from, then uses it: imports, a matrix
product, a video written and read back. What fails raises: the exit code and the last line tell.
That of the evaluation image, selftest_eval.py, takes its checks of versions, video and STAIR from here.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

HOME = Path("/opt/stair")
ROOMS = (
    "stair.collect.dataset",
    "stair.data.loader",
    "stair.evaluate.evaluation",
    "stair.evaluate.report",
    "stair.serve.server",
    "stair.sim.tabletop",
    "stair.submit.plan",
    "stair.train.trainer",
)
"""Modules that together import everything that training, serving, collecting and evaluating need."""


def check_versions(lock: Path) -> int:
    """Compares every pin of a lock with what is installed; returns how many there are."""
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", lock.read_text(), flags=re.MULTILINE)
    wrong = [
        f"{name} {version(name)}, locked {wanted}"
        for name, wanted in pins
        if wanted not in (version(name), version(name).split("+")[0])  # as pip compares them
    ]
    assert not wrong, "; ".join(wrong)
    return len(pins)


def check_torch(variant: str) -> str:
    """A product, and for `cuda` the CUDA version it was built with."""
    import torch

    product = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(product @ torch.eye(64), product)
    wanted = "12.8" if variant == "cuda" else None
    assert torch.version.cuda == wanted, f"torch is built for CUDA {torch.version.cuda}, not {wanted}"
    return f"torch {torch.__version__} cuda {torch.version.cuda} visible {torch.cuda.is_available()}"


def check_video(variant: str) -> str:
    """Writes ten frames and reads one back; `cuda` also decodes with torchcodec on Debian's FFmpeg."""
    import imageio.v3 as imageio
    import numpy as np

    frames = np.stack([np.full((64, 64, 3), 25 * step, np.uint8) for step in range(10)])
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/ten.mp4"
        imageio.imwrite(path, frames, fps=10)
        seen = imageio.imread(path, index=5)
        assert seen.shape == (64, 64, 3), seen.shape
        assert abs(float(seen.mean()) - 125) < 10, seen.mean()
        if variant != "cuda":
            return "video by imageio"
        subprocess.run(["ffmpeg", "-version"], check=True, capture_output=True)
        from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

        frame = VideoDecoder(path)[5]
        assert tuple(frame.shape) == (3, 64, 64), frame.shape
        assert abs(float(frame.float().mean()) - 125) < 10, frame.float().mean()
    return "video by imageio and torchcodec"


def check_stair(rooms: Sequence[str]) -> str:
    """STAIR comes from its fixed place, and all its rooms for an image import."""
    import stair

    place = Path(stair.__file__ or "").parent
    assert place == HOME / "src" / "stair", f"stair is imported from {place}"
    for room in rooms:
        importlib.import_module(room)
    return f"stair {stair.__version__}"


def main() -> None:
    started = time.monotonic()
    variant = os.environ["STAIR_IMAGE_VARIANT"]
    pins = check_versions(HOME / "train.lock") + check_versions(HOME / "attention.lock")
    facts = [check_torch(variant), check_video(variant), check_stair(ROOMS)]
    python = sys.version.split()[0]
    print(f"selftest ok: {variant}, python {python}, {pins} locked packages,", ", ".join(facts), end=", ")
    print(f"{time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
