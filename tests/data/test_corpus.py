import os
from dataclasses import replace

import numpy as np
import pytest

from stair.data import corpus as corpus_module
from stair.data.batch import collate
from stair.data.config import (
    ActionConfig,
    AugmentConfig,
    ClipConfig,
    DataConfig,
    ImageConfig,
    InputConfig,
    LanguageConfig,
)
from stair.data.corpus import Corpus
from stair.data.language import WordTokenizer, prompt_ids
from stair.data.rlds import RldsFolder
from stair.data.statistics import Statistics
from stair.data.transforms import MIRRORED_ACTION, decode_image, prepare_image, unnormalize
from stair.errors import StairError, UsageError
from tests.data.episodes import LENGTHS

INPUTS = InputConfig(image=ImageConfig(24), clip=ClipConfig(image_size=24))


def assert_equal(one, other):
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


@pytest.fixture
def data(tabletop):
    return DataConfig(root=str(tabletop), mixture="tabletop", seed=3)


def raw_by_state(root, dataset):
    """Every step of a data set, read without the index: state -> (episode, step, images)."""
    found = {}
    for raw in RldsFolder.open(root / dataset / "1.0.0").episodes("train"):
        state = raw.floats("steps/observation/state", 7)
        for t, row in enumerate(state):
            found[row.tobytes()] = (raw, t)
    return found


def test_an_epoch_holds_every_step_once_with_its_own_image(data, tabletop):
    corpus = Corpus.open(data, INPUTS)
    assert len(corpus) == sum(LENGTHS)
    batch = corpus.batch(np.arange(len(corpus)), with_clips=False)
    assert batch.clips is None
    found = raw_by_state(tabletop, "tabletop")
    index = corpus.parts[0].index
    seen = set()
    for row in range(len(corpus)):
        part, sample = corpus.order.locate(np.array([row]))
        step = corpus.parts[part[0]].places(sample).steps[0]
        raw, t = found[index.proprio[step].tobytes()]
        seen.add((raw.shard, raw.number, t))
        image = decode_image(raw.spans("steps/observation/image_0")[t])
        np.testing.assert_array_equal(batch.images[row].numpy().transpose(1, 2, 0), image)
    assert len(seen) == sum(LENGTHS)


def brute_force(raw, t, first, count, statistics: Statistics, actions, proprio, inputs: InputConfig):
    """One sample by the letter, from raw bytes and standardised arrays of its episode."""

    def image(step, size):
        encoded = raw.spans("steps/observation/image_0")[first + step]
        return prepare_image(decode_image(encoded), ImageConfig(size))

    clip = [image(min(max(t + o, 0), count - 1), inputs.clip.image_size) for o in (-8, -4, 0, 4, 8)]
    low, high = np.array(statistics.action.q01), np.array(statistics.action.q99)
    chunk, mask = [], []
    for k in range(16):
        real = t + k < count
        action = actions[t + k] if real else np.append(np.zeros(6), actions[count - 1][6])
        scaled = np.clip(2 * (action - low) / (high - low + 1e-8) - 1, -1, 1)
        chunk.append(np.append(scaled[:6], action[6]))
        mask.append(real)
    plow, phigh = np.array(statistics.proprio.q01), np.array(statistics.proprio.q99)
    states = np.clip(2 * (proprio[t] - plow) / (phigh - plow + 1e-8) - 1, -1, 1)
    is_open = [action[6] > 0.5 for action in actions]
    points = []
    for wanted in (False, True):
        events = [e for e in range(max(t, 1), count) if is_open[e] == wanted != is_open[e - 1]]
        place = proprio[events[0]][:3] if events else np.full(3, np.nan)
        points.append(np.clip(2 * (place - plow[:3]) / (phigh - plow + 1e-8)[:3] - 1, -1, 1))
    points = np.array(points)
    return image(t, inputs.image.size), np.array(clip), np.array(chunk), np.array(mask), states, points


def test_every_sample_of_real_bridge_equals_a_brute_force(bridge):
    inputs = InputConfig(image=ImageConfig(48), clip=ClipConfig(image_size=64))
    corpus = Corpus.open(DataConfig(root=str(bridge), mixture="bridge_orig"), inputs)
    assert len(corpus) == 200
    batch = corpus.batch(np.arange(200))
    found = raw_by_state(bridge, "bridge_orig")
    index, statistics = corpus.parts[0].index, corpus.statistics["bridge_orig"]
    for row in range(200):
        places = corpus.parts[0].places(corpus.order.locate(np.array([row]))[1])
        episode = index.episode(int(places.episodes[0]))
        raw, recorded = found[index.proprio[places.steps[0]].tobytes()]
        count = len(episode.actions)
        expected = brute_force(
            raw, recorded - 1, 1, count, statistics, episode.actions, episode.proprio, inputs
        )
        image, clip, chunk, mask, states, points = expected
        assert batch.clips is not None
        np.testing.assert_array_equal(batch.images[row], image)
        np.testing.assert_array_equal(batch.clips[row], clip)
        np.testing.assert_allclose(batch.actions[row], chunk, atol=2e-5)
        np.testing.assert_array_equal(batch.action_mask[row], mask)
        np.testing.assert_allclose(batch.proprio[row], states, atol=2e-5)
        np.testing.assert_allclose(batch.waypoints[row], points, atol=2e-5)
        words = raw.spans("steps/language_instruction")[1].decode()
        ids = batch.token_ids[row][batch.token_mask[row]].numpy()
        np.testing.assert_array_equal(ids, prompt_ids(words, LanguageConfig(), WordTokenizer(1024)))


def test_a_batch_is_its_samples_side_by_side(data):
    data = replace(data, augment=AugmentConfig(shift=0.1, mirror=True, brightness=0.1, contrast=0.2))
    corpus = Corpus.open(data, INPUTS)
    positions = np.array([5, 250, 7, 0, 124])
    together = corpus.batch(positions)
    alone = collate([corpus.sample(int(p)) for p in positions], corpus.tokenizer.pad_id)
    assert_equal(alone, together)


def test_a_mirrored_sample_is_the_plain_one_with_left_and_right_exchanged(data):
    plain = Corpus.open(data, INPUTS)
    mirrored = Corpus.open(replace(data, augment=AugmentConfig(mirror=True)), INPUTS)
    statistics = plain.statistics["tabletop"]
    flipped = 0
    for position in range(60):
        before, after = plain.sample(position), mirrored.sample(position)
        if np.array_equal(before.image, after.image):
            assert_equal(before, after)
            continue
        flipped += 1
        np.testing.assert_array_equal(after.image, before.image[:, :, ::-1])
        assert before.clip is not None
        np.testing.assert_array_equal(after.clip, before.clip[..., ::-1])
        np.testing.assert_array_equal(after.token_ids, before.token_ids)
        for name, moments in (("actions", statistics.action), ("proprio", statistics.proprio)):
            physical = [unnormalize(getattr(s, name), moments) for s in (before, after)]
            inside = (np.abs(getattr(before, name)) < 1) & (np.abs(getattr(after, name)) < 1)
            np.testing.assert_allclose(
                (physical[0] * MIRRORED_ACTION)[inside], physical[1][inside], atol=1e-5
            )
        points = [unnormalize(s.waypoints, statistics.proprio, slice(0, 3)) for s in (before, after)]
        inside = (np.abs(before.waypoints) < 1) & (np.abs(after.waypoints) < 1)
        np.testing.assert_allclose((points[0] * [1, -1, 1])[inside], points[1][inside], atol=1e-5)
    assert 15 < flipped < 45


def test_mirroring_the_simulators_picture_is_mirroring_y():
    """What the augmentation assumes of the tabletop camera."""
    from stair.sim.tabletop_camera import Camera, Pose
    from stair.sim.tabletop_layout import draw_start

    layout = draw_start(7).layout
    pictures = []
    for sign in (1.0, -1.0):
        world = replace(layout, targets=layout.targets * [1.0, sign])
        blocks = np.column_stack([layout.blocks * [1.0, sign], np.zeros(2)])
        camera = Camera(48)
        camera.prepare(world)
        pictures.append(camera.shoot(Pose(layout.gripper * [1.0, sign, 1.0], 1.0, blocks)).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() > 50
    assert np.abs(pictures[0] - pictures[1][:, ::-1]).max() <= 1


def test_a_frame_that_is_image_and_clip_frame_is_decoded_once(data, monkeypatch):
    corpus = Corpus.open(data, INPUTS)
    calls = []
    monkeypatch.setattr(
        corpus_module, "decode_image", lambda b, into: calls.append(b) or decode_image(b, into)
    )
    for position in range(30):
        calls.clear()
        corpus.sample(position)
        assert len(calls) == len(set(calls)) <= 5


def test_held_out_episodes_are_seen_by_nobody_else(data):
    data = replace(data, held_out=0.25)
    rest, held = Corpus.open(data, INPUTS), Corpus.open(data, INPUTS, held_out=True)
    assert sorted([*rest.parts[0].chosen, *held.parts[0].chosen]) == list(range(len(LENGTHS)))
    assert len(held.parts[0].chosen) == 2
    assert len(rest) + len(held) == sum(LENGTHS)
    assert rest.statistics == held.statistics
    rows = [{tuple(r) for r in c.batch(np.arange(len(c))).proprio.numpy()} for c in (rest, held)]
    assert not rows[0] & rows[1]


def test_holding_out_nothing_leaves_nothing_to_validate_on(data):
    with pytest.raises(UsageError, match="no episode of tabletop is held out"):
        Corpus.open(data, INPUTS, held_out=True)
    with pytest.raises(UsageError, match=r"held_out is 1\.5"):
        Corpus.open(replace(data, held_out=1.5), INPUTS)


def test_chunk_and_clip_follow_the_configuration(data):
    inputs = replace(INPUTS, action=ActionConfig(chunk=5), clip=ClipConfig(3, "future", image_size=12))
    sample = Corpus.open(data, inputs).sample(0)
    assert sample.actions.shape == (5, 7)
    assert sample.clip is not None
    assert sample.clip.shape == (3, 3, 12, 12)


def test_a_broken_image_names_its_file_and_byte(data, tabletop):
    corpus = Corpus.open(data, INPUTS)
    index = corpus.parts[0].index
    for file, offset, _ in index.frames.tolist():
        with open(index.files[file], "r+b") as shard:
            os.pwrite(shard.fileno(), b"????", offset)
    with pytest.raises(StairError, match=r"tabletop-train.*: image at byte \d+: an image begins with"):
        corpus.sample(0)


def test_a_mixture_with_fractal_says_that_its_time_has_not_come(data):
    with pytest.raises(StairError, match=r"no data set at .*bridge_orig"):
        Corpus.open(replace(data, mixture="bridge_rt_1"), INPUTS)
