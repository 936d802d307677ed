"""Holds our data sets against tensorflow-datasets itself, in both directions.

    make parity        or        python tools/parity.py [--keep FOLDER]

Writes a data set with our writer (JPEG, and PNG) and one with tfds' writer, and takes the real Bridge
episodes where they lie; has tfds and our reader read each, and compares every value and every decoded pixel
of every step, with each other and with what was written. Then every sample of both pipelines, and the
augmentations (tools/parity_samples.py). Prints a table; exit code 1 on any difference. TensorFlow lives in an
environment of its own (tools/reference_venv.py), where this file runs a second time.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Column = np.ndarray
"""One value over all steps of an episode; strings as bytes."""
Episode = dict[str, Column]
SPLIT_SIZES = {"train": 9, "val": 3}
SIZE = 40


def make_episode(number: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Steps and metadata of one episode with everything that is easy to get wrong: negative and huge
    integers, words beyond ASCII and empty ones, an episode of one step, pictures with hard edges."""
    rng = np.random.default_rng(number)
    length = 1 if number == 3 else int(rng.integers(2, 14))
    words = ["put the carrot on the plate", "", "stelle die Schüssel ab – 皿"][number % 3]
    steps = []
    for t in range(length):
        coarse = rng.integers(0, 256, (SIZE // 5, SIZE // 4, 3))
        steps.append(
            {
                "observation": {
                    "image_0": np.kron(coarse, np.ones((5, 4, 1))).astype(np.uint8),
                    "state": rng.normal(size=7).astype(np.float32),
                },
                "action": rng.normal(size=7).astype(np.float32) * np.float32(1e-3),
                "language_instruction": words,
                "reward": float(t == length - 1),
                "discount": 1.0,
                "is_first": t == 0,
                "is_last": t == length - 1,
                "is_terminal": t == length - 1,
            }
        )
    return steps, {"episode_id": -number * 1_000_003, "file_path": f"/somewhere/é{number}"}


def numbers(split: str) -> range:
    """The episodes of a split."""
    first = 0 if split == "train" else SPLIT_SIZES["train"]
    return range(first, first + SPLIT_SIZES[split])


def columns_of(steps: list[dict[str, Any]], metadata: dict[str, Any]) -> Episode:
    """What was to be written, as both readers should give it back."""
    result = {f"metadata/{k}": np.array([_plain(v)]) for k, v in metadata.items()}
    for key, value in steps[0].items():
        inner = value if isinstance(value, dict) else {"": value}
        for name in inner:
            rows = [_plain(step[key][name] if name else step[key]) for step in steps]
            result[f"{key}/{name}" if name else key] = np.array(rows)
    return result


def _plain(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


# --- in the environment with TensorFlow -----------------------------------------------------------------


def tfds_read(folder: str, output: str) -> None:
    """Reads every split with tfds and stores all values, in the order of the files."""
    import tensorflow_datasets as tfds  # type: ignore[import-not-found]

    builder = tfds.builder_from_directory(folder)
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    stored: dict[str, np.ndarray] = {}
    for split in builder.info.splits:
        episodes = builder.as_dataset(split=split, shuffle_files=False, read_config=config)
        for number, episode in enumerate(tfds.as_numpy(episodes)):
            steps = list(episode["steps"])
            for name, column in columns_of(steps, episode.get("episode_metadata", {})).items():
                stored[f"{split}|{number}|{name}"] = column
    np.savez(output, **stored)  # type: ignore[arg-type]


def tfds_write(folder: str) -> None:
    """Writes the made-up episodes with tfds' own writer."""
    import tensorflow_datasets as tfds  # type: ignore[import-not-found]

    f = tfds.features
    flag = f.Scalar(dtype=np.bool_)
    step = f.FeaturesDict(
        {
            "observation": f.FeaturesDict(
                {
                    "image_0": f.Image(shape=(SIZE, SIZE, 3), encoding_format="jpeg"),
                    "state": f.Tensor(shape=(7,), dtype=np.float32),
                }
            ),
            "action": f.Tensor(shape=(7,), dtype=np.float32),
            "language_instruction": f.Text(),
            "reward": f.Scalar(dtype=np.float32),
            "discount": f.Scalar(dtype=np.float32),
            **{name: flag for name in ("is_first", "is_last", "is_terminal")},
        }
    )
    metadata = f.FeaturesDict({"episode_id": f.Scalar(dtype=np.int32), "file_path": f.Text()})

    class Written(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        RELEASE_NOTES = {"1.0.0": "For comparison."}  # noqa: RUF012

        def _info(self) -> Any:
            features = f.FeaturesDict({"steps": f.Dataset(step), "episode_metadata": metadata})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager: Any) -> Any:
            return {split: self._generate_examples(split) for split in SPLIT_SIZES}

        def _generate_examples(self, split: str) -> Iterator[tuple[str, Any]]:
            for number in numbers(split):
                steps, about = make_episode(number)
                yield str(number), {"steps": steps, "episode_metadata": about}

    config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=2)
    Written(data_dir=folder).download_and_prepare(download_config=config)


# --- in ours --------------------------------------------------------------------------------------------


def our_write(folder: Path, encoding: Any) -> None:
    """Writes the made-up episodes with our writer."""
    from stair.data.rlds_features import manipulation_features
    from stair.data.rlds_writer import RldsWriter

    shards = {"train": 3, "val": 1}
    features = manipulation_features(SIZE, SIZE)
    with RldsWriter(
        folder, name="written", features=features, split_shards=shards, image_encoding=encoding
    ) as out:
        for split in SPLIT_SIZES:
            for number in numbers(split):
                out.add(split, *make_episode(number))


def our_read(folder: Path) -> dict[str, list[Episode]]:
    """Reads every split with our reader, images decoded as training decodes them."""
    from stair.data.rlds import RldsFolder
    from stair.data.transforms import decode_image

    source = RldsFolder.open(folder)

    def column(values: Any, feature: Any) -> Column:
        if feature.kind == "image":
            return np.array([decode_image(encoded) for encoded in values])
        if feature.kind == "text":
            return np.array(list(values))
        return np.asarray(values).reshape(-1, *feature.shape).astype(feature.dtype)

    def episode(values: Any) -> Episode:
        steps = {n: column(values[f"steps/{n}"], f) for n, f in source.features.steps.items()}
        metadata = source.features.metadata.items()
        return steps | {f"metadata/{n}": column(values[f"episode_metadata/{n}"], f) for n, f in metadata}

    return {split: [episode(raw.values) for raw in source.episodes(split)] for split in source.splits}


def load_tfds(path: Path) -> dict[str, list[Episode]]:
    """What `tfds_read` stored."""
    result: dict[str, list[Episode]] = {}
    with np.load(path) as stored:
        for key in stored.files:
            split, number, name = key.split("|")
            episodes = result.setdefault(split, [])
            while len(episodes) <= int(number):
                episodes.append({})
            episodes[int(number)][name] = stored[key]
    return result


def differing_steps(one: Episode, other: Episode) -> dict[str, int]:
    """For every value the number of steps at which it differs, or -1 where one side lacks it."""
    result = {}
    for name in sorted(one.keys() | other.keys()):
        a, b = one.get(name), other.get(name)
        if a is None or b is None or a.shape != b.shape:
            result[name] = -1
        else:
            result[name] = int((a != b).reshape(len(a), -1).any(axis=1).sum())
    return result


def compare(case: str, ours: dict[str, list[Episode]], theirs: dict[str, list[Episode]]) -> list[list[Any]]:
    """Rows of the table: case, value, episodes, steps, differing steps."""
    if {s: len(e) for s, e in ours.items()} != {s: len(e) for s, e in theirs.items()}:
        return [[case, "number of episodes", len(ours), "", -1]]
    pairs = [pair for split in ours for pair in zip(ours[split], theirs[split], strict=True)]
    totals: dict[str, list[int]] = {}
    for one, other in pairs:
        for name, count in differing_steps(one, other).items():
            total = totals.setdefault(name, [0, 0])
            total[0] += len(one.get(name, ()))
            total[1] = -1 if count < 0 or total[1] < 0 else total[1] + count
    return [[case, name, len(pairs), *total] for name, total in totals.items()]


def written_episodes(like: dict[str, list[Episode]]) -> dict[str, list[Episode]]:
    """What was meant to be written, in the order in which `like` was read (shards change it)."""
    made = {int(m["episode_id"]): columns_of(s, m) for s, m in map(make_episode, range(12))}

    def meant(episode: Episode) -> Episode:
        source = made[int(episode["metadata/episode_id"][0])]
        # tfds stores what the features say: float32, where a made-up reward is a Python number.
        return {
            n: v.astype(episode[n].dtype) if n in ("reward", "discount") else v for n, v in source.items()
        }

    return {split: [meant(episode) for episode in episodes] for split, episodes in like.items()}


def without_images(episodes: dict[str, list[Episode]]) -> dict[str, list[Episode]]:
    """JPEG does not give back what was encoded; its decoded pixels are compared between the readers."""
    return {
        split: [{n: v for n, v in episode.items() if "image" not in n} for episode in some]
        for split, some in episodes.items()
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tensorflow", default="", help="a Python that has tensorflow-datasets")
    parser.add_argument("--keep", default="", help="folder to leave the data sets in")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from stair.console import say, show_table
    from tools import parity_samples

    maker = [sys.executable, str(Path(__file__).with_name("reference_venv.py")), "tf"]
    python = options.tensorflow or subprocess.check_output(maker, text=True).strip()

    def with_tensorflow(*words: str, script: str = __file__) -> None:
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([python, script, *words], check=True, stdout=sys.stderr, env=environment)

    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(options.keep or temporary)
        cases = {
            "written by us, JPEG": work / "ours_jpeg/1.0.0",
            "written by us, PNG": work / "ours_png/1.0.0",
        }
        our_write(cases["written by us, JPEG"], "jpeg")
        our_write(cases["written by us, PNG"], "png")
        with_tensorflow("tfds-write", str(work))
        cases["written by tfds"] = work / "written/1.0.0"
        bridge = Path(__file__).resolve().parents[2] / "shared/data/bridge_orig/1.0.0"
        if bridge.is_dir():
            cases["real Bridge"] = bridge
        for case, folder in cases.items():
            say(f"{case}: {folder}")
            stored = work / "tfds.npz"
            with_tensorflow("tfds-read", str(folder), str(stored))
            ours, theirs = our_read(folder), load_tfds(stored)
            rows += compare(f"{case}: our reader and tfds", ours, theirs)
            if case != "real Bridge":
                theirs = theirs if "PNG" in case else without_images(theirs)
                meant = written_episodes(theirs)
                meant = meant if "PNG" in case else without_images(meant)
                rows += compare(f"{case}: tfds and what was meant", theirs, meant)
        say("samples of both readers, and augmentations")
        samples = functools.partial(with_tensorflow, script=parity_samples.__file__)
        rows += parity_samples.compare_samples(work, bridge if bridge.is_dir() else None, samples)
    show_table("parity with tensorflow-datasets", ["case", "value", "episodes", "steps", "differing"], rows)
    differing = sum(1 for row in rows if row[-1] != 0)
    say(f"{len(rows) - differing} of {len(rows)} values equal at every step")
    return 1 if differing or not rows else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["tfds-read"]:
        tfds_read(*sys.argv[2:])
    elif sys.argv[1:2] == ["tfds-write"]:
        tfds_write(*sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
