"""Cached dynamic tokens: the right ones for every sample, and no cache of anything else."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from stair.data.batch import collate
from stair.data.config import AugmentConfig, ClipConfig, DataConfig, ImageConfig, InputConfig
from stair.data.corpus import Corpus
from stair.data.index import Index, open_index
from stair.data.loader import Loader
from stair.data.tokens import (
    TokenSet,
    clip_facts,
    index_key,
    missing_shards,
    read_manifest,
    shard_file,
    write_manifest,
    write_shard,
)
from stair.errors import StairError, UsageError
from tests.data.episodes import LENGTHS, write_tabletop

INPUTS = InputConfig(image=ImageConfig(24), clip=ClipConfig(image_size=24))
ROWS = 50


def numbered(rows: np.ndarray) -> np.ndarray:
    """float32 [B, 2, 3] that name their row."""
    return (rows[:, None, None] + np.arange(6).reshape(2, 3) / 8).astype(np.float32)


def write_cache(folder: Path, index: Index, dtype: str = "float32", inputs: InputConfig = INPUTS) -> TokenSet:
    """A cache whose tokens name their row."""
    tokens = TokenSet(
        index.dataset,
        "train",
        index_key(index),
        clip_facts(inputs, index.dataset),
        {"kind": "numbers"},
        len(index),
        2,
        3,
        dtype,  # type: ignore[arg-type]
        ROWS,
    )
    place = folder / f"{index.dataset}-train"
    place.mkdir(parents=True)
    write_manifest(place, tokens)
    for shard in range(tokens.shards):
        values = numbered(np.array(tokens.rows_of(shard)))
        if dtype == "bfloat16":
            stored = (values.view(np.uint32) >> 16).astype(np.uint16)
        else:
            stored = values.astype(dtype)
        write_shard(place, shard, stored)
    return tokens


@pytest.fixture
def data(tabletop: Path, tmp_path: Path) -> DataConfig:
    write_cache(tmp_path / "cache", open_index(tabletop, "tabletop", "train"))
    return DataConfig(root=str(tabletop), mixture="tabletop", seed=3, dynamic_tokens=str(tmp_path / "cache"))


def rows_of(corpus: Corpus, positions: np.ndarray) -> np.ndarray:
    return corpus.parts[0].places(corpus.order.locate(positions)[1]).steps


def test_every_sample_has_the_tokens_of_its_own_row_and_no_clip(data):
    corpus = Corpus.open(data, INPUTS)
    positions = np.arange(len(corpus))
    batch = corpus.batch(positions)
    assert batch.clips is None
    assert batch.dynamic_tokens is not None
    np.testing.assert_array_equal(batch.dynamic_tokens, numbered(rows_of(corpus, positions)))
    assert len(np.unique(rows_of(corpus, positions))) == sum(LENGTHS)


def test_everything_else_is_as_without_a_cache(data):
    with_cache, without = Corpus.open(data, INPUTS), Corpus.open(replace(data, dynamic_tokens=""), INPUTS)
    mine, plain = (corpus.batch(np.arange(30)) for corpus in (with_cache, without))
    assert plain.dynamic_tokens is None
    for name in set(vars(plain)) - {"clips", "dynamic_tokens"}:
        np.testing.assert_array_equal(getattr(mine, name), getattr(plain, name), err_msg=name)


def test_who_asks_for_no_clips_gets_no_tokens(data):
    batch = Corpus.open(data, INPUTS).batch(np.arange(3), with_clips=False)
    assert batch.clips is None
    assert batch.dynamic_tokens is None


def test_held_out_samples_have_theirs(data):
    corpus = Corpus.open(replace(data, held_out=0.25), INPUTS, held_out=True)
    batch = corpus.batch(np.arange(len(corpus)))
    rows = rows_of(corpus, np.arange(len(corpus)))
    assert 0 < len(rows) < sum(LENGTHS)
    np.testing.assert_array_equal(batch.dynamic_tokens, numbered(rows))


def test_tokens_pass_through_workers_and_single_samples(data):
    corpus = Corpus.open(data, INPUTS)
    direct = corpus.batch(np.arange(4))
    from_worker = next(iter(Loader(corpus, 4, workers=1)))
    alone = collate([corpus.sample(position) for position in range(4)], corpus.tokenizer.pad_id)
    for batch in (from_worker, alone):
        np.testing.assert_array_equal(batch.dynamic_tokens, direct.dynamic_tokens)


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2.0**-10), ("bfloat16", 2.0**-7)])
def test_short_types_round_and_nothing_more(tabletop, tmp_path, dtype, step):
    write_cache(tmp_path / "short", open_index(tabletop, "tabletop", "train"), dtype)
    data = DataConfig(root=str(tabletop), mixture="tabletop", dynamic_tokens=str(tmp_path / "short"))
    corpus = Corpus.open(data, INPUTS)
    batch, rows = corpus.batch(np.arange(40)), rows_of(corpus, np.arange(40))
    assert batch.dynamic_tokens is not None
    np.testing.assert_allclose(batch.dynamic_tokens.numpy(), numbered(rows), rtol=step)


def test_two_data_sets_are_read_from_the_same_folder_and_must_agree(tabletop, tmp_path, data):
    """A mixture's second data set is the first one under another name."""
    from stair.data.tokens import open_tokens

    index = open_index(tabletop, "tabletop", "train")
    other = replace(index, dataset="bridge_orig")
    write_cache(tmp_path / "cache", other)
    readers = open_tokens(data, INPUTS, [index, other])
    assert [reader is not None for reader in readers] == [True, True]
    place = tmp_path / "cache" / "bridge_orig-train"
    cached = read_manifest(place)
    assert cached is not None
    write_manifest(place, replace(cached, encoder={"kind": "others"}))
    with pytest.raises(UsageError, match="tabletop and bridge_orig were made by different encoders"):
        open_tokens(data, INPUTS, [index, other])


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (
            ClipConfig(image_size=24, stride=1),
            r"clip settings: offsets is \[-8, -4, 0, 4, 8\], and \[-2, -1, 0",
        ),
        (ClipConfig(image_size=32), "clip settings: image_size is 24, and 32 is asked for"),
    ],
)
def test_upstream_defect_16_a_cache_of_other_clips_is_refused(data, clip, said):
    with pytest.raises(UsageError, match=said):
        Corpus.open(data, replace(INPUTS, clip=clip))


@pytest.mark.parametrize(
    "other",
    [{"lengths": [9, 23, 2, 29, 17, 12, 26, 5]}, {"image_encoding": "png"}],
    ids=["episodes", "frames"],
)
def test_a_cache_of_other_data_is_refused(data, tmp_path, other):
    write_tabletop(tmp_path / "others", **other)
    with pytest.raises(
        UsageError, match="tabletop-train was made for something else: rows of the data set is"
    ):
        Corpus.open(replace(data, root=str(tmp_path / "others")), INPUTS)


def test_a_cache_of_copied_data_is_not(data, tabletop):
    for file in tabletop.glob("tabletop/1.0.0/*.tfrecord*"):
        os.utime(file, (1, 1))
    Corpus.open(data, INPUTS)


def test_an_unfinished_cache_says_what_is_missing(data):
    place = Path(data.dynamic_tokens) / "tabletop-train"
    last = shard_file(place, 2)
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(
        StairError, match=r"2 of 3 shards, tokens-00002\.bin is the first that is missing or cut"
    ):
        Corpus.open(data, INPUTS)
    shard_file(place, 0).unlink()
    with pytest.raises(StairError, match=r"1 of 3 shards, tokens-00000\.bin") as refused:
        Corpus.open(data, INPUTS)
    assert "tools/cache-dynamics" in refused.value.hint


def test_a_file_that_another_job_was_writing_and_that_has_its_name_now_hides_no_shard(data):
    place = Path(data.dynamic_tokens) / "tabletop-train"
    for name in (".tokens-00000.bin.9.tmp", "zz"):  # listed, and gone when looked at
        (place / name).symlink_to("nowhere")
    tokens = read_manifest(place)
    assert tokens is not None
    assert missing_shards(place, tokens) == []
    shard_file(place, 1).unlink()
    assert missing_shards(place, tokens) == [1]
    assert missing_shards(place / "nowhere", tokens) == [0, 1, 2]


def test_no_cache_and_a_damaged_or_newer_one_are_refused(data):
    with pytest.raises(StairError, match=r"no token cache at .*nowhere.* holds none"):
        Corpus.open(replace(data, dynamic_tokens=f"{data.dynamic_tokens}/nowhere"), INPUTS)
    manifest = Path(data.dynamic_tokens) / "tabletop-train" / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(values | {"format": 9}))
    with pytest.raises(StairError, match="has format 9, this version reads 1"):
        Corpus.open(data, INPUTS)
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(StairError, match=r"cannot read .*manifest\.json"):
        Corpus.open(data, INPUTS)


@pytest.mark.parametrize(
    "augment", [AugmentConfig(mirror=True), AugmentConfig(shift=0.1), AugmentConfig(brightness=0.1)]
)
def test_augmentation_of_clips_is_refused(data, augment):
    with pytest.raises(UsageError, match=r"data\.augment.* clips, and data\.dynamic_tokens holds"):
        Corpus.open(replace(data, augment=augment), INPUTS)


def test_augmentation_of_images_alone_is_not(data):
    plain = Corpus.open(data, INPUTS).batch(np.arange(8))
    moved = Corpus.open(replace(data, augment=AugmentConfig(shift=0.2, clip=False)), INPUTS).batch(
        np.arange(8)
    )
    np.testing.assert_array_equal(moved.dynamic_tokens, plain.dynamic_tokens)
    assert not np.array_equal(moved.images, plain.images)


def test_a_manifest_reads_back_as_it_was_written(tmp_path, tabletop):
    tokens = write_cache(tmp_path / "cache", open_index(tabletop, "tabletop", "train"))
    assert asdict(read_manifest(tmp_path / "cache" / "tabletop-train")) == asdict(tokens)  # type: ignore[arg-type]
    assert tokens.shards == 3
    assert [len(tokens.rows_of(shard)) for shard in range(3)] == [50, 50, 23]
