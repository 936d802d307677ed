"""Random clips from LeRobot videos: torchcodec, which we use where it can be loaded, against PyAV.

    python tools/bench/video.py [--seconds 5] [--turns 3]

A clip is five 256 px frames four steps apart. Files are written as LeRobot writes them (a key frame every
second frame), once as 2.x has them (a file for every episode: nearly every clip opens one) and once as 3.0
has them (one file, which stays open). Both decoders read the same clips of the same files in the same
process, in turns, so that a busy machine slows both. Prints JSON lines: clips per CPU-second and the ratio.
Where torchcodec cannot be loaded (FFmpeg's libraries are missing) only PyAV's are printed, and it says so.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stair.data.lerobot.encode import encode_video, join_videos
from stair.data.lerobot.video import Decoder, VideoFrames, choose_decoder

OFFSETS = np.array([-8, -4, 0, 4, 8])
EPISODES, STEPS, SIZE, FPS = 64, 40, 256, 5.0


def write_videos(folder: Path, codec: str) -> tuple[list[str], str]:
    """A file for every episode, and one of all: moving soft pictures with a camera's noise."""
    from PIL import Image

    parts = []
    for number in range(EPISODES):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
        scene = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = [np.roll(scene, t, axis=1) + rng.integers(-2, 3, (SIZE, SIZE, 1)) for t in range(STEPS)]
        pictures = [np.clip(picture, 0, 255).astype(np.uint8) for picture in noisy]
        parts.append(folder / f"{codec}-{number}.mp4")
        encode_video(parts[-1], pictures, FPS, codec)
    shared = folder / f"{codec}-all.mp4"
    join_videos(shared, parts, [STEPS] * EPISODES, FPS)
    return [str(part) for part in parts], str(shared)


def cpu_s() -> float:
    """CPU seconds of this process so far, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def clips_per_cpu_s(reader: VideoFrames, shared: bool, seconds: float, seed: int) -> float:
    """Random clips for so many CPU-seconds, each read as a sample reads it."""
    rng = np.random.default_rng(seed)
    started, clips, spent = cpu_s(), 0, 0.0
    while spent < seconds:
        episode, step = int(rng.integers(EPISODES)), int(rng.integers(STEPS))
        numbers = np.clip(step + OFFSETS, 0, STEPS - 1) + (episode * STEPS if shared else 0)
        file, frames = (0, EPISODES * STEPS) if shared else (episode, STEPS)
        reader.expect(np.array([[file, number, frames] for number in numbers]))
        clips += 1
        spent = cpu_s() - started
    return clips / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0, help="of CPU time for each measurement")
    parser.add_argument("--turns", type=int, default=3, help="how often the decoders alternate")
    options = parser.parse_args()
    decoders: list[Decoder] = ["pyav"] if choose_decoder() == "pyav" else ["torchcodec", "pyav"]
    with tempfile.TemporaryDirectory() as temporary:
        for codec in ("h264", "av1"):
            started = cpu_s()
            parts, everything = write_videos(Path(temporary), codec)
            wrote = EPISODES * STEPS / (cpu_s() - started)
            size = sum(Path(part).stat().st_size for part in parts) / (EPISODES * STEPS)
            for layout, files in (("a file an episode", parts), ("one file", [everything])):
                readers = {decoder: VideoFrames(files, FPS, decoder) for decoder in decoders}
                rates: dict[str, list[float]] = {decoder: [] for decoder in decoders}
                for turn in range(options.turns):
                    for decoder, reader in readers.items():
                        rate = clips_per_cpu_s(reader, len(files) == 1, options.seconds, turn)
                        rates[decoder].append(rate)
                means = {decoder: float(np.mean(values)) for decoder, values in rates.items()}
                result = {
                    "bench": "video",
                    "codec": codec,
                    "layout": layout,
                    "bytes_per_frame": round(size),
                    "written_frames_per_cpu_s": round(wrote),
                    **{f"{decoder}_clips_per_cpu_s": round(mean, 1) for decoder, mean in means.items()},
                }
                if "torchcodec" in means:
                    result["ratio"] = round(means["torchcodec"] / means["pyav"], 2)
                print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
