"""Holds our samples against OpenVLA's pipeline: `data.reader` native and tf on the same mixture.

Part of tools/parity.py, which calls `compare_samples`. Takes the real Bridge episodes where they lie and
generated Fractal ones, alone and mixed; has both readers make every sample once, finds the pairs by their
numbers, and compares all that a model is fed. Then augmentations against tf.image itself, draw by draw. The
tf side runs where TensorFlow is, without torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Rows = list[list[Any]]
SIZE, CLIP = 96, 64
LOOKS = 24


def settings(root: str, mixture: str) -> tuple[Any, Any]:
    """What both sides are told."""
    from stair.data.config import ClipConfig, DataConfig, ImageConfig, InputConfig

    inputs = InputConfig(image=ImageConfig(SIZE), clip=ClipConfig(image_size=CLIP))
    return DataConfig(root=root, mixture=mixture), inputs


# --- in the environment with TensorFlow -----------------------------------------------------------------


def tf_samples(task: str, output: str) -> None:
    """Every sample of the sources in `task` (JSON), stored as arrays."""
    from stair.data.statistics import Moments
    from stair.data.tf_reader import Source, read

    told = json.loads(Path(task).read_text())
    data, inputs = settings(told["root"], told["mixture"])
    sources = []
    for source in told["sources"]:
        bounds: dict[str, Any] = {
            name: Moments(**{field: tuple(value) for field, value in source.pop(name).items()})
            for name in ("action", "pose")
        }
        sources.append(Source(**source | {"offsets": tuple(source["offsets"])}, **bounds))
    batches = list(read(sources, data, inputs, 64, seed=None))
    whole = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    whole["words"] = whole["words"].astype(bytes)  # objects would be pickled
    np.savez(output, **whole)  # type: ignore[arg-type]


def tf_augment(task: str, output: str) -> None:
    """The pictures of `task` (npz) under its looks, by tf.image as dlimp's `augment` calls it."""
    import tensorflow as tf  # type: ignore[import-not-found]

    results = []
    with np.load(task) as stored:
        for picture, look in zip(stored["pictures"], stored["looks"], strict=True):
            top, left, side, brightness, contrast, saturation, hue = (float(v) for v in look)
            image = tf.image.convert_image_dtype(picture, tf.float32)
            box = [[top, left, top + side, left + side]]
            image = tf.image.crop_and_resize(image[None], box, [0], picture.shape[:2])[0]
            for change in (
                lambda i, by=brightness: tf.image.adjust_brightness(i, by),
                lambda i, by=contrast: tf.image.adjust_contrast(i, by),
                lambda i, by=saturation: tf.image.adjust_saturation(i, by),
                lambda i, by=hue: tf.image.adjust_hue(i, by),
            ):
                image = tf.clip_by_value(change(tf.clip_by_value(image, 0, 1)), 0, 1)
            results.append(tf.image.convert_image_dtype(image, tf.uint8, saturate=True).numpy())
    np.savez(output, results=np.array(results))


# --- in ours --------------------------------------------------------------------------------------------


def compare_samples(work: Path, bridge: Path | None, with_tensorflow: Callable[..., None]) -> Rows:
    """Rows of parity's table: case, value, episodes, samples, differing samples."""
    from tools.made_fractal import write_fractal

    root = work / "mixture"
    write_fractal(root, [1, 2, *range(20, 60, 3)], shards=3, height=128, width=160)
    mixtures = ["fractal20220817_data"]
    if bridge is not None:
        (root / "bridge_orig").symlink_to(bridge.parent)
        mixtures += ["bridge_orig", "bridge_rt_1"]
    rows: Rows = []
    for mixture in mixtures:
        rows += compare_mixture(work, root, mixture, with_tensorflow)
    return rows + compare_augmentation(work, with_tensorflow)


def compare_mixture(work: Path, root: Path, mixture: str, with_tensorflow: Callable[..., None]) -> Rows:
    """Every sample of a mixture by both readers."""
    from stair.data.corpus import Corpus

    corpus = Corpus.open(*settings(str(root), mixture))
    sources = [
        {
            "folder": str(Path(part.index.files[0]).parent),
            "dataset": part.index.dataset,
            "share": 1.0,
            "action": vars(part.statistics.action),
            "pose": vars(part.pose),
            "offsets": part.offsets,
        }
        for part in corpus.parts
    ]
    task, output = work / "samples.json", work / "samples.npz"
    task.write_text(json.dumps({"root": str(root), "mixture": mixture, "sources": sources}))
    with_tensorflow("tf-samples", str(task), str(output))
    with np.load(output) as stored:
        theirs = {name: stored[name] for name in stored.files}
    batch = corpus.batch(np.arange(len(corpus)))
    ours = {name: np.asarray(getattr(batch, name)) for name in theirs if name != "words"}
    words = [part.index.instructions for part in corpus.parts]
    parts, samples = corpus.order.locate(np.arange(len(corpus)))
    told = []
    for part, sample in zip(parts.tolist(), samples.tolist(), strict=True):
        places = corpus.parts[part].places(np.array([sample]))
        told.append(words[part][corpus.parts[part].index.words[places.episodes[0]]].encode())
    ours["words"] = np.array(told)
    if len(theirs["words"]) != len(told):
        return [[mixture, "number of samples", "", len(told), -1]]
    mine, other = (np.argsort(_keys(side), kind="stable") for side in (ours, theirs))
    episodes = sum(part.index.episodes for part in corpus.parts)
    rows: Rows = []
    for name in theirs:
        a, b = ours[name][mine], theirs[name][other]
        if a.dtype == np.uint8:  # resized in two ways: one level apart at most
            far = np.abs(a.astype(int) - b).reshape(len(a), -1).max(axis=1) > 1
        elif a.dtype.kind == "f":
            far = ~np.isclose(a, b, atol=2e-6, rtol=0, equal_nan=True).reshape(len(a), -1).all(axis=1)
        else:
            far = (a != b).reshape(len(a), -1).any(axis=1)
        rows.append([f"{mixture}: native and tf", name, episodes, len(a), int(far.sum())])
    return rows


def _keys(side: dict[str, np.ndarray]) -> np.ndarray:
    """One number per sample that both readers agree on."""
    numbers = np.concatenate([side["proprio"], side["actions"][:, 0]], axis=1).astype(np.float64)
    return np.round(numbers, 4) @ np.random.default_rng(0).random(numbers.shape[1])


def compare_augmentation(work: Path, with_tensorflow: Callable[..., None]) -> Rows:
    """OpenVLA's `--image_aug` by ours and by tf.image, with the same draws."""
    from stair.data.augment import draw_looks
    from stair.data.config import AugmentConfig

    rng = np.random.default_rng(0)
    fields = rng.integers(0, 256, (LOOKS, 14, 14, 3), np.uint8)
    pictures = np.kron(fields, np.ones((1, 16, 16, 1), np.uint8))
    openvla = AugmentConfig(crop=0.9, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
    looks = draw_looks(openvla, 0, np.arange(LOOKS))
    names = ("top", "left", "side", "brightness", "contrast", "saturation", "hue")
    task, output = work / "augment.npz", work / "augmented.npz"
    np.savez(task, pictures=pictures, looks=np.array([[getattr(k, n) for n in names] for k in looks]))
    with_tensorflow("tf-augment", str(task), str(output))
    with np.load(output) as stored:
        theirs = stored["results"]
    ours = [
        look.restyle(p.transpose(2, 0, 1)).transpose(1, 2, 0) for look, p in zip(looks, pictures, strict=True)
    ]
    apart = np.abs(np.array(ours).astype(int) - theirs).reshape(LOOKS, -1)
    return [
        ["augmentation and tf.image", "pictures, to one level", "", LOOKS, int((apart.max(axis=1) > 1).sum())]
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    {"tf-samples": tf_samples, "tf-augment": tf_augment}[sys.argv[1]](*sys.argv[2:])
