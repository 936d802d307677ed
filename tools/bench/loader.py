"""Our loader against a tf.data pipeline of the same sample on the same files, in one run.

    python tools/bench/loader.py [--seconds 8] [--samples 1000000]

A sample is one 224 px image, a clip of five 256 px frames four steps apart, and a 16 x 7 action chunk,
normalised, from shuffled steps of a written data set of 256 px JPEGs. tf.data reads it as OpenVLA's stack
does (encoded frames through a shuffle buffer, decoded late, the present frame twice: as image and in its
clip); that is what the promised ratio of 2 is about. `lean` decodes it once, as we do: what nobody's stack
does, for judging fairly. Both sides take turns, so that a busy machine slows both. Prints JSON lines:
samples per CPU-second of both, their ratio, and memory over time; the demo's 48 px sample by our loader
alone; and what our loader holds after each tenth of a million samples, of 16 px so that it does not take an
hour. TensorFlow has an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

OFFSETS = (-8, -4, 0, 4, 8)
BATCH = 32
EPISODES, STEPS = 60, 40


def write_data(root: Path, size: int) -> None:
    """Smooth pictures with some noise; at 256 px, like BridgeV2's, 4:2:0 JPEGs of about 25 kB."""
    import simplejpeg
    from PIL import Image

    from stair.data.rlds_features import manipulation_features
    from stair.data.rlds_writer import RldsWriter

    folder = root / "tabletop" / "1.0.0"
    rng = np.random.default_rng(0)
    features = manipulation_features(size, size)
    with RldsWriter(folder, name="tabletop", features=features, split_shards={"train": 4}) as writer:
        for number in range(EPISODES):
            coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
            scene = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(np.int16)
            steps = []
            for t in range(STEPS):
                noisy = np.roll(scene, t, axis=1) + rng.integers(-5, 6, (size, size, 1))
                picture = np.clip(noisy, 0, 255).astype(np.uint8)
                jpeg = simplejpeg.encode_jpeg(picture, 95, colorsubsampling="420" if size > 100 else "444")
                steps.append(
                    {
                        "observation": {
                            "image_0": jpeg,
                            "state": rng.normal(size=7),
                        },
                        "action": np.append(rng.normal(size=6), t % 20 < 10),
                        "language_instruction": "put the red block on the plate",
                        **{"reward": 0.0, "discount": 1.0},
                        **{"is_first": t == 0, "is_last": t == STEPS - 1, "is_terminal": False},
                    }
                )
            writer.add("train", steps, {"episode_id": number, "file_path": ""})


def cpu_s() -> float:
    """CPU seconds of this process so far, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory_mb() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(batches: Iterator[Any], size: int, seconds: float) -> dict[str, Any]:
    """Samples per CPU-second over `seconds` of CPU time (a busy machine must not make the measurement
    shorter), after two batches to warm up; and memory at eight moments."""
    for _ in range(2):
        next(batches)
    started, cpu, spent, samples, memory = time.perf_counter(), cpu_s(), 0.0, 0, []
    while spent < seconds:
        next(batches)
        samples += size
        spent = cpu_s() - cpu
        if spent >= len(memory) * seconds / 8:
            memory.append(round(memory_mb()))
    return {
        "samples_per_cpu_s": round(samples / spent, 1),
        "samples_per_s": round(samples / (time.perf_counter() - started), 1),
        "rss_mb": memory,
    }


def ours(root: str, filter: Any, seconds: float) -> dict[str, Any]:
    """The 224 + 5 x 256 px sample by our loader, in this process."""
    import torch

    from stair.data.config import DataConfig, ImageConfig, InputConfig
    from stair.data.loader import Corpus, Loader

    torch.set_num_threads(1)
    corpus = Corpus.open(DataConfig(root=root), InputConfig(image=ImageConfig(224, filter)))
    return measure(iter(Loader(corpus, BATCH)), BATCH, seconds)


def small(root: str, seconds: float) -> dict[str, Any]:
    """The demo's sample: 48 px image and clip, shifted and mirrored, batches of 16."""
    import torch

    from stair.data.config import AugmentConfig, ClipConfig, DataConfig, ImageConfig, InputConfig
    from stair.data.loader import Corpus, Loader

    torch.set_num_threads(1)
    data = DataConfig(root=root, augment=AugmentConfig(shift=0.06, mirror=True))
    inputs = InputConfig(image=ImageConfig(48), clip=ClipConfig(image_size=48))
    return measure(iter(Loader(Corpus.open(data, inputs), 16)), 16, seconds)


def long_run(root: str, samples: int) -> dict[str, Any]:
    """Memory of our loader in one process, over `samples` samples with clips of a 16 px data set."""
    import torch

    from stair.console import Progress
    from stair.data.config import ClipConfig, DataConfig, ImageConfig, InputConfig
    from stair.data.loader import Corpus, Loader

    torch.set_num_threads(1)
    inputs = InputConfig(image=ImageConfig(16), clip=ClipConfig(image_size=16))
    batches = iter(Loader(Corpus.open(DataConfig(root=root), inputs), 250))
    memory, started = [], time.perf_counter()
    progress = Progress("samples", samples)
    for number in range(samples // 250):
        next(batches)
        if (number + 1) % (samples // 2500) == 0:
            memory.append(round(memory_mb(), 1))
            progress.update((number + 1) * 250)
    return {
        "samples": samples,
        "samples_per_s": round(samples / (time.perf_counter() - started)),
        "rss_mb": memory,
        "growth_percent": round(100 * (memory[-1] / memory[0] - 1), 2),
        "limit_percent": 2.0,
    }


def with_tf_data(root: str, filter: str, lean: bool, seconds: float) -> dict[str, Any]:
    """The same sample by tf.data; runs where TensorFlow is."""
    import tensorflow as tf  # type: ignore[import-not-found]
    import tensorflow_datasets as tfds  # type: ignore[import-not-found]

    builder = tfds.builder_from_directory(f"{root}/tabletop/1.0.0")
    skip = {"steps": {"observation": {"image_0": tfds.decode.SkipDecoding()}}}
    episodes = builder.as_dataset(split="train", shuffle_files=True, decoders=skip).repeat()

    def steps_of(episode: Any) -> Any:
        steps = episode["steps"].batch(10_000).get_single_element()
        actions, images = steps["action"], steps["observation"]["image_0"]
        count = tf.shape(actions)[0]
        now = tf.range(count)
        clip = tf.clip_by_value(now[:, None] + tf.constant(OFFSETS), 0, count - 1)
        ahead = now[:, None] + tf.range(16)
        chunk = tf.gather(actions, tf.minimum(ahead, count - 1))
        mask = ahead < count
        still = tf.concat([tf.zeros_like(chunk[..., :6]), chunk[..., 6:]], axis=-1)
        chunk = tf.where(mask[..., None], chunk, still)
        columns: Any = {
            "image": images,
            "clip": tf.gather(images, clip),
            "actions": tf.clip_by_value(2 * (chunk + 3) / 6 - 1, -1, 1),
            "mask": mask,
            "proprio": steps["observation"]["state"],
            "words": steps["language_instruction"],
        }
        return tf.data.Dataset.from_tensor_slices(columns)

    def decode(encoded: Any) -> Any:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    def decoded(sample: Any) -> Any:
        frames = [decode(sample["clip"][k]) for k in range(len(OFFSETS))]
        middle = frames[len(OFFSETS) // 2] if lean else decode(sample["image"])
        method = {"lanczos": "lanczos3", "bicubic": "bicubic"}[filter]
        image = tf.image.resize(middle, (224, 224), method=method, antialias=True)
        image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
        return {**sample, "image": image, "clip": tf.stack(frames)}

    data = episodes.interleave(steps_of, cycle_length=4, num_parallel_calls=2)
    data = data.shuffle(1000).map(decoded, num_parallel_calls=2).batch(BATCH).prefetch(2)
    return measure(data.as_numpy_iterator(), BATCH, seconds)


def run_side(python: str, *words: object) -> dict[str, Any]:
    """One measurement in a process of its own."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [python, __file__, "--side", *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=8.0, help="of CPU time for each measurement")
    parser.add_argument("--samples", type=int, default=1_000_000, help="of the run that watches memory")
    parser.add_argument("--turns", type=int, default=2, help="how often the sides alternate")
    options = parser.parse_args()
    maker = Path(__file__).resolve().parents[1] / "reference_venv.py"
    tensorflow = subprocess.check_output([sys.executable, str(maker), "tf"], text=True).strip()
    with tempfile.TemporaryDirectory() as temporary:
        roots = {size: Path(temporary) / str(size) for size in (256, 48, 16)}
        for size, root in roots.items():
            write_data(root, size)
        large = roots[256]
        for filter, lean in (("lanczos", False), ("bicubic", False), ("lanczos", True)):
            turns = [
                (
                    run_side(sys.executable, "ours", large, filter, options.seconds),
                    run_side(tensorflow, "tf", large, filter, int(lean), options.seconds),
                )
                for _ in range(options.turns)
            ]
            mine, theirs = (np.mean([turn[k]["samples_per_cpu_s"] for turn in turns]) for k in (0, 1))
            result = {
                "bench": "loader",
                "sample": f"224 {filter} + 5x256",
                "tf_data": "lean" if lean else "as OpenVLA",
                "ours_per_cpu_s": round(float(mine), 1),
                "tf_per_cpu_s": round(float(theirs), 1),
                "ratio": round(float(mine / theirs), 2),
                **({} if lean else {"limit": 2.0}),
                "our_rss_mb": turns[-1][0]["rss_mb"],
                "tf_rss_mb": turns[-1][1]["rss_mb"],
            }
            print(json.dumps(result), flush=True)
        held = run_side(sys.executable, "long", roots[16], options.samples)
        print(json.dumps({"bench": "loader", "sample": "16 + 5x16", **held}), flush=True)
        demo = run_side(sys.executable, "small", roots[48], options.seconds)
        print(
            json.dumps({"bench": "loader", "sample": "48 + 5x48, shifted and mirrored", **demo}), flush=True
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--side", "ours", root, filter, seconds]:
            print(json.dumps(ours(root, filter, float(seconds))))
        case ["--side", "small", root, seconds]:
            print(json.dumps(small(root, float(seconds))))
        case ["--side", "long", root, samples]:
            print(json.dumps(long_run(root, int(samples))))
        case ["--side", "tf", root, filter, lean, seconds]:
            print(json.dumps(with_tf_data(root, filter, lean == "1", float(seconds))))
        case _:
            main()
