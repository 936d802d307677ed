"""OpenVLA's own pipeline (`data.reader: tf`): tensorflow-datasets, dlimp where it is installed, and tf.data.

Takes the data sets of a Corpus with their statistics, hands on the very Batches that the native reader makes,
in another order. It is what the native reader is held against (`make parity`), so everything between the
record and the model's numbers is written here a second time, in TensorFlow and after the specification. The
surprise: it shuffles within a buffer, cannot be resumed, and every process reads all files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stair.console import say
from stair.data.config import DataConfig, InputConfig
from stair.data.language import pad_prompts, prompt_ids
from stair.data.standardize import pose_of, standard_of
from stair.data.statistics import Moments
from stair.errors import StairError, UsageError

if TYPE_CHECKING:
    from stair.data.corpus import Corpus
    from stair.data.sample import Batch

BUFFER = 10_000
"""Samples with encoded frames (about 0.15 MB each) that are shuffled; OpenVLA has 256,000, without clips."""
Columns = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """One data set of the mixture."""

    folder: str
    """DATASET/VERSION"""
    dataset: str
    share: float
    action: Moments
    pose: Moments
    offsets: tuple[int, ...]


def require_tensorflow(data: DataConfig) -> None:
    """Raises StairError when it is missing, or asked for what it cannot do."""
    try:
        import tensorflow_datasets  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        raise StairError(
            f"data.reader tf needs tensorflow and tensorflow-datasets: {error}",
            hint="pip install 'stair-vla[tf]', or data.reader native",
        ) from None
    only_native = {
        "held_out": data.held_out > 0,
        "sampling keyframe": data.sampling != "dense",
        "unwrap_rotation": data.unwrap_rotation,
        "round_gripper": data.round_gripper,
        "augment.mirror": data.augment.mirror,
        "dynamic_tokens": bool(data.dynamic_tokens),
    }
    if wanted := [name for name, is_on in only_native.items() if is_on]:
        raise UsageError(f"data.reader tf knows no {', '.join(wanted)}", hint="data.reader native")


def tf_batches(corpus: Corpus, size: int, rank: int, first_step: int, with_clips: bool) -> Iterator[Batch]:
    """Batches of `size` samples of this process's own order; it begins anew wherever the run stands."""
    import torch

    from stair.data.augment import draw_looks
    from stair.data.sample import Batch

    if first_step:
        say(f"data.reader tf cannot be resumed: at step {first_step} it begins anew, shuffled otherwise")
    if strange := [part.index.dataset for part in corpus.parts if part.index.storage.kind != "bytes"]:
        raise UsageError(f"data.reader tf reads RLDS only, not {strange[0]}", hint="data.reader native")
    sources = [
        Source(
            folder=str(part.index.files[0]).rpartition("/")[0],
            dataset=part.index.dataset,
            share=count / corpus.order.length,
            action=part.statistics.action,
            pose=part.pose,
            offsets=part.offsets if with_clips else (),
        )
        for part, count in zip(corpus.parts, corpus.order.counts, strict=True)
    ]
    seed = hash((corpus.data.seed, rank, first_step)) % 2**31
    for number, made in enumerate(read(sources, corpus.data, corpus.inputs, size, seed=seed)):
        found = {name: np.array(value) for name, value in made.items()}  # theirs are read-only
        positions = (first_step + number) * size + np.arange(size)
        looks = draw_looks(corpus.data.augment, seed, positions, corpus.inputs.image.crop)
        for row, look in enumerate(looks):
            found["images"][row] = look.restyle(look.place(found["images"][row]))
            if with_clips and corpus.data.augment.clip:
                found["clips"][row] = look.restyle(look.place(found["clips"][row]))
        words = [text.decode("utf-8", "replace").strip() for text in found.pop("words").tolist()]
        prompts = [prompt_ids(text, corpus.inputs.language, corpus.tokenizer) for text in words]
        token_ids, token_mask = pad_prompts(prompts, corpus.tokenizer.pad_id)
        found |= {"token_ids": token_ids, "token_mask": token_mask, "positions": positions}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}
        yield Batch(**{"clips": None, **tensors})


def read(
    sources: Sequence[Source], data: DataConfig, inputs: InputConfig, size: int, *, seed: int | None
) -> Iterator[Columns]:
    """Batches as numpy: images uint8 [B, 3, S, S], clips uint8 [B, T, 3, C, C], actions float32 [B, K, 7],
    action_mask bool [B, K], proprio float32 [B, 7], waypoints float32 [B, 2, 3], words bytes [B].
    Without a seed every sample once, in the order of the files."""
    import tensorflow as tf  # type: ignore[import-not-found]

    tf.config.set_visible_devices([], "GPU")  # they belong to torch
    tf.random.set_seed(seed or 0)
    streams: list[Any] = []
    for source in sources:
        episodes = _episodes(source, data.split, shuffle=seed is not None)
        episodes = episodes if seed is None else episodes.repeat()
        shortest = 3 if source.dataset == "bridge_orig" else 1
        episodes = episodes.filter(lambda steps, least=shortest: tf.size(steps["is_first"]) >= least)
        samples = episodes.map(lambda steps, source=source: _samples(steps, source, inputs.action.chunk))
        samples = samples.filter(lambda columns: tf.size(columns["words"]) > 0)
        streams.append(samples.flat_map(tf.data.Dataset.from_tensor_slices))
    if seed is None:
        stream = streams[0]
        for more in streams[1:]:
            stream = stream.concatenate(more)
    else:
        shares = [source.share for source in sources]
        stream = tf.data.Dataset.sample_from_datasets(streams, shares, seed=seed).shuffle(BUFFER, seed=seed)

    method = {"lanczos": "lanczos3", "bicubic": "bicubic"}[inputs.image.resize]

    def decode(encoded: Any, side: int) -> Any:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        image = tf.image.resize(image, (side, side), method=method, antialias=True)
        return tf.transpose(tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8), (2, 0, 1))

    def decoded(columns: Columns) -> Columns:
        result = {name: value for name, value in columns.items() if name not in ("image", "clip")}
        result["images"] = decode(columns["image"], inputs.image.size)
        if sources[0].offsets:
            frames = [decode(columns["clip"][k], inputs.clip.image_size) for k in range(inputs.clip.frames)]
            result["clips"] = tf.stack(frames)
        return result

    batches: Any = stream.map(decoded, num_parallel_calls=2).batch(size, drop_remainder=seed is not None)
    return batches.prefetch(2).as_numpy_iterator()


def _episodes(source: Source, split: str, *, shuffle: bool) -> Any:
    """A tf.data.Dataset of episodes, each a dictionary of tensors [T, ...] with images still encoded."""
    import tensorflow_datasets as tfds  # type: ignore[import-not-found]

    builder = tfds.builder_from_directory(source.folder)
    try:
        from dlimp import DLataset  # type: ignore[import-not-found]
    except ImportError:
        config = tfds.ReadConfig(try_autocache=False, **({} if shuffle else {"interleave_cycle_length": 1}))
        episodes = builder.as_dataset(
            split=split,
            shuffle_files=shuffle,
            decoders={"steps": tfds.decode.SkipDecoding()},
            read_config=config,
        )
        return episodes.map(lambda episode: episode["steps"])
    return DLataset.from_rlds(builder, split=split, shuffle=shuffle)


def _samples(steps: Columns, source: Source, chunk: int) -> Columns:
    """All samples of one episode, [N, ...] each; none where nobody described it."""
    import tensorflow as tf  # type: ignore[import-not-found]

    actions, proprio, images, words = _STANDARDS[source.dataset](tf, steps)
    count = tf.shape(actions)[0]
    now = tf.range(count)
    ahead = now[:, None] + tf.range(chunk)
    mask = ahead < count
    taken = tf.gather(actions, tf.minimum(ahead, count - 1))
    relative = tf.constant(standard_of(source.dataset).action_mask)
    taken = tf.where(~mask[..., None] & relative, 0.0, taken)
    pose = tf.numpy_function(lambda p: pose_of(source.dataset, p), [proprio], tf.float32)
    pose = tf.ensure_shape(pose, (None, 7))
    is_open = actions[:, 6] > 0.5
    turns = tf.concat([tf.zeros((1,), tf.bool), is_open[1:] != is_open[:-1]], axis=0)[:count]
    points = []
    for wanted in (False, True):
        event = turns & (is_open == wanted)
        next_one = tf.reduce_min(
            tf.where(event[None] & (now[None] >= now[:, None]), now[None], count), axis=1
        )
        place = tf.gather(pose[:, :3], tf.minimum(next_one, count - 1))
        points.append(tf.where((next_one < count)[:, None], _scaled(tf, place, source.pose), np.nan))
    described = tf.boolean_mask(words, tf.strings.strip(words) != "")
    told = tf.repeat(described[:1], tf.where(tf.size(described) > 0, count, 0))
    columns = {
        "image": images,
        "actions": _scaled(tf, taken, source.action),
        "action_mask": mask,
        "proprio": _scaled(tf, pose, source.pose),
        "waypoints": tf.stack(points, axis=1),
    }
    if source.offsets:
        rows = tf.clip_by_value(now[:, None] + tf.constant(source.offsets), 0, count - 1)
        columns["clip"] = tf.gather(images, rows)
    return {name: value[: tf.size(told)] for name, value in columns.items()} | {"words": told}


def _scaled(tf: Any, values: Any, moments: Moments) -> Any:
    """BOUNDS_Q99 of the first dimensions of `moments`; dimensions that never move become 0."""
    width = values.shape[-1]
    low, high = (np.array(bound[:width], np.float32) for bound in (moments.q01, moments.q99))
    still = (high - low < 1e-6) | (np.array(moments.min[:width]) == np.array(moments.max[:width]))
    scaled = tf.clip_by_value(2 * (values - low) / (high - low + np.float32(1e-8)) - 1, -1, 1)
    return tf.where(np.array(moments.mask[:width]), tf.where(still, 0.0, scaled), values)


def _bridge(tf: Any, steps: Columns) -> tuple[Any, Any, Any, Any]:
    state, gripper = steps["observation"]["state"][1:], steps["action"][1:, 6]
    told = (gripper > 0.95) | (gripper < 0.05)
    filled = tf.scan(
        lambda carry, step: tf.where(step[1], step[0], carry),
        (tf.cast(gripper > 0.95, tf.float32), told),
        initializer=gripper[-1],
        reverse=True,
    )
    actions = tf.concat([state[1:, :6] - state[:-1, :6], filled[:-1, None]], axis=1)
    proprio = tf.concat([state[:-1, :6], tf.zeros_like(state[:-1, :1]), state[:-1, 6:]], axis=1)
    return actions, proprio, steps["observation"]["image_0"][1:-1], steps["language_instruction"][1:-1]


def _fractal(tf: Any, steps: Columns) -> tuple[Any, Any, Any, Any]:
    closing, seen = steps["action"]["gripper_closedness_action"][:, 0], steps["observation"]
    moves = tf.where(closing < -0.1, 1.0, tf.where(closing > 0.1, -1.0, 0.0))
    first = -moves[tf.argmax(moves != 0)]
    gripper = tf.scan(
        lambda carry, move: tf.where(move == 0, carry, move), moves, tf.where(first == 0, 1.0, first)
    )
    motion = [steps["action"]["world_vector"], steps["action"]["rotation_delta"]]
    actions = tf.concat([*motion, gripper[:, None] / 2 + 0.5], axis=1)
    proprio = tf.concat([seen["base_pose_tool_reached"], seen["gripper_closed"]], axis=1)
    return actions, proprio, seen["image"], seen["natural_language_instruction"]


def _plain(tf: Any, steps: Columns) -> tuple[Any, Any, Any, Any]:
    seen = steps["observation"]
    return steps["action"], seen["state"], seen["image_0"], steps["language_instruction"]


_STANDARDS = {"bridge_orig": _bridge, "fractal20220817_data": _fractal, "tabletop": _plain}
