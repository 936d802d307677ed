import os
import re
from dataclasses import replace

import numpy as np
import pytest

from stair.data import corpus as corpus_module
from stair.data.augment import MIRRORED_ACTION
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
from stair.data.keyframes import keyframe_rows
from stair.data.language import WordTokenizer, prompt_ids
from stair.data.rlds import RldsFolder
from stair.data.standardize import dataset_folder
from stair.data.statistics import write_statistics
from stair.data.transforms import decode_image, prepare_image, unnormalize
from stair.errors import StairError, UsageError
from tests.data.episodes import LENGTHS
from tests.data.test_standardize import written_fractal_rules, written_rules
from tools.made_fractal import write_fractal

INPUTS = InputConfig(image=ImageConfig(24), clip=ClipConfig(image_size=24))


def assert_equal(one, other):
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


@pytest.fixture
def data(tabletop):
    return DataConfig(root=str(tabletop), mixture="tabletop", seed=3)


def raw_by_state(root):
    """Every step of the tabletop data, read without the index: state -> (episode, step)."""
    found = {}
    for raw in RldsFolder.open(root / "tabletop" / "1.0.0").episodes("train"):
        state = raw.floats("steps/observation/state", 7)
        for t, row in enumerate(state):
            found[row.tobytes()] = (raw, t)
    return found


def test_an_epoch_holds_every_step_once_with_its_own_image(data, tabletop):
    corpus = Corpus.open(data, INPUTS)
    assert len(corpus) == sum(LENGTHS)
    batch = corpus.batch(np.arange(len(corpus)), with_clips=False)
    assert batch.clips is None
    found = raw_by_state(tabletop)
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


def sorted_quantile(values, q):
    """Linear interpolation between order statistics."""
    ordered = sorted(float(v) for v in values)
    place = q * (len(ordered) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def standardised_by_hand(root, dataset):
    """Every episode of a data set from the specification alone: actions, poses, encoded images, words."""
    episodes = []
    for raw in RldsFolder.open(dataset_folder(root, dataset)).episodes("train"):
        if dataset == "bridge_orig":
            state = raw.values["steps/observation/state"].reshape(-1, 7)
            actions, published = written_rules(state, raw.values["steps/action"].reshape(-1, 7))
            poses = [[*p[:6], p[7]] for p in published]
            images = list(raw.spans("steps/observation/image_0"))[1:-1]
            words = raw.spans("steps/language_instruction")[1].decode()
        else:
            actions, published = written_fractal_rules(raw.values)
            poses = []
            for px, py, pz, x, y, z, w, closed in published.astype(float):
                roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
                pitch = np.arcsin(min(1, max(-1, 2 * (w * y - z * x))))
                yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
                poses.append([px, py, pz, roll, pitch, yaw, 1 - closed])
            images = list(raw.spans("steps/observation/image"))
            words = raw.spans("steps/observation/natural_language_instruction")[0].decode()
        episodes.append((actions, np.array(poses), images, words))
    return episodes


def scaled_by_hand(value, low, high):
    return min(1.0, max(-1.0, 2 * (float(value) - low) / (high - low + 1e-8) - 1))


@pytest.mark.parametrize("dataset", ["bridge_orig", "fractal20220817_data"])
def test_every_sample_equals_a_brute_force_from_the_specification(dataset, tmp_path, request):
    """9: the end of an episode is masked, and padded by motions of zero and the last gripper command."""
    root = request.getfixturevalue("bridge") if dataset == "bridge_orig" else tmp_path
    if dataset != "bridge_orig":
        write_fractal(root, (25, 1, 40, 13, 30, 2))
    inputs = InputConfig(image=ImageConfig(48), clip=ClipConfig(image_size=64))
    corpus = Corpus.open(DataConfig(root=str(root), mixture=dataset), inputs)
    episodes = standardised_by_hand(root, dataset)
    assert len(corpus) == sum(len(actions) for actions, *_ in episodes) == (200 if root != tmp_path else 111)

    every_action = [row for actions, *_ in episodes for row in actions]
    every_pose = [row for _, poses, *_ in episodes for row in poses]
    bounds = [
        [
            (sorted_quantile([r[d] for r in rows], 0.01), sorted_quantile([r[d] for r in rows], 0.99))
            for d in range(7)
        ]
        for rows in (every_action, every_pose)
    ]
    batch = corpus.batch(np.arange(len(corpus)))
    assert batch.clips is not None
    seen = set()
    for row in range(len(corpus)):
        places = corpus.parts[0].places(corpus.order.locate(np.array([row]))[1])
        number, t = int(places.episodes[0]), int(places.steps[0] - places.firsts[0])
        seen.add((number, t))
        actions, poses, images, words = episodes[number]
        count = len(actions)

        def picture(step, size, images=images):
            return prepare_image(decode_image(images[step]), ImageConfig(size))

        np.testing.assert_array_equal(batch.images[row], picture(t, 48))
        for nth, offset in enumerate((-8, -4, 0, 4, 8)):
            np.testing.assert_array_equal(
                batch.clips[row, nth], picture(min(max(t + offset, 0), count - 1), 64)
            )
        chunk = []
        for k in range(16):
            action = actions[t + k] if t + k < count else [0.0] * 6 + [actions[count - 1][6]]
            chunk.append([scaled_by_hand(action[d], *bounds[0][d]) for d in range(6)] + [float(action[6])])
        assert batch.action_mask[row].tolist() == [t + k < count for k in range(16)]
        np.testing.assert_allclose(batch.actions[row], chunk, atol=5e-5)
        expected = [scaled_by_hand(poses[t][d], *bounds[1][d]) for d in range(7)]
        np.testing.assert_allclose(batch.proprio[row], expected, atol=5e-5)
        is_open = [action[6] > 0.5 for action in actions]
        for kind, wanted in enumerate((False, True)):
            events = [e for e in range(max(t, 1), count) if is_open[e] == wanted != is_open[e - 1]]
            point = batch.waypoints[row, kind].numpy()
            if events:
                expected = [scaled_by_hand(poses[events[0]][d], *bounds[1][d]) for d in range(3)]
                np.testing.assert_allclose(point, expected, atol=5e-5)
            else:
                assert np.isnan(point).all()
        ids = batch.token_ids[row][batch.token_mask[row]].numpy()
        np.testing.assert_array_equal(ids, prompt_ids(words, LanguageConfig(), WordTokenizer(1024)))
    assert len(seen) == len(corpus)


def test_a_batch_is_its_samples_side_by_side(data):
    data = replace(data, augment=AugmentConfig(0.1, True, 0.9, 0.1, 0.2, 0.2, 0.05))
    corpus = Corpus.open(data, replace(INPUTS, image=ImageConfig(24, crop=0.9)))
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
        for name, moments in (("actions", statistics.action), ("proprio", plain.parts[0].pose)):
            physical = [unnormalize(getattr(s, name), moments) for s in (before, after)]
            inside = (np.abs(getattr(before, name)) < 1) & (np.abs(getattr(after, name)) < 1)
            np.testing.assert_allclose(
                (physical[0] * MIRRORED_ACTION)[inside], physical[1][inside], atol=1e-5
            )
        points = [unnormalize(s.waypoints, plain.parts[0].pose, slice(0, 3)) for s in (before, after)]
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


def test_a_mixture_of_bridge_and_fractal_reads_both_whole(bridge, tmp_path):
    write_fractal(tmp_path, (40, 60))
    (tmp_path / "bridge_orig").symlink_to(bridge / "bridge_orig")
    data = DataConfig(root=str(tmp_path), mixture="bridge_rt_1")
    corpus = Corpus.open(data, INPUTS)
    assert [len(part) for part in corpus.parts] == [200, 100]
    assert corpus.order.counts.tolist() == [200, 100]
    assert {len(s.proprio.mean) for s in corpus.statistics.values()} == {8}
    assert Corpus.open(replace(data, balance="starvla"), INPUTS).order.counts.tolist() == [200, 200]


def test_a_soup_names_what_cannot_be_read(data):
    with pytest.raises(
        UsageError, match="oxe_magic_soup has 21 data sets that STAIR cannot standardise: kuka"
    ):
        Corpus.open(replace(data, mixture="oxe_magic_soup"), INPUTS)


def test_a_data_set_may_have_a_stride_of_its_own(data):
    doubled = replace(INPUTS, clip=replace(INPUTS.clip, stride=9, strides={"tabletop": 2, "bridge_orig": 4}))
    plain = replace(INPUTS, clip=replace(INPUTS.clip, stride=2))
    one, other = (Corpus.open(data, inputs).batch(np.arange(20)) for inputs in (doubled, plain))
    assert_equal(one, other)


def test_keyframes_are_sampled_in_an_order_that_any_position_knows(data):
    corpus = Corpus.open(replace(data, sampling="keyframe"), INPUTS)
    index = corpus.parts[0].index
    rows = keyframe_rows(index.actions, index.starts)
    assert 0 < len(rows) < len(index)
    assert len(corpus) == len(rows)
    places = corpus.parts[0].places(corpus.order.locate(np.arange(len(rows)))[1])
    assert sorted(places.steps.tolist()) == rows.tolist()
    assert ((places.firsts <= places.steps) & (places.steps <= places.lasts)).all()
    assert (index.starts[places.episodes] == places.firsts).all()
    assert_equal(corpus.sample(11), corpus.sample(11))
    held = Corpus.open(replace(data, sampling="keyframe", held_out=0.25), INPUTS, held_out=True)
    episodes = held.parts[0].places(np.arange(len(held))).episodes
    assert set(episodes.tolist()) <= set(held.parts[0].chosen.tolist())


def test_19_statistics_are_those_of_the_training_episodes_alone(data):
    data = replace(data, held_out=0.25)
    rest = Corpus.open(data, INPUTS)
    part = rest.parts[0]
    rows = np.concatenate([np.arange(*part.index.starts[e : e + 2]) for e in part.chosen])
    q01 = [sorted_quantile(part.index.actions[rows, d], 0.01) for d in range(7)]
    np.testing.assert_allclose(rest.statistics["tabletop"].action.q01, q01, atol=1e-6)
    assert rest.statistics["tabletop"].num_trajectories == len(part.chosen) == 6
    assert rest.statistics != Corpus.open(replace(data, held_out=0.0), INPUTS).statistics


def test_statistics_of_a_file_normalise_actions(data, tmp_path):
    plain = Corpus.open(data, INPUTS)
    mine = plain.statistics["tabletop"]
    wide = replace(mine, action=replace(mine.action, q01=(-10.0,) * 7, q99=(10.0,) * 7))
    write_statistics(tmp_path / "dataset_statistics.json", {"tabletop": wide, "other": mine})
    given = Corpus.open(replace(data, statistics=str(tmp_path)), INPUTS)
    assert given.statistics == {"tabletop": wide}
    one, other = plain.sample(3), given.sample(3)
    inside = (np.abs(one.actions) < 1) & (np.abs(other.actions) < 1)
    physical = [unnormalize(s.actions, m.action) for s, m in ((one, mine), (other, wide))]
    np.testing.assert_allclose(physical[0][inside], physical[1][inside], atol=1e-5)
    np.testing.assert_array_equal(one.proprio, other.proprio)


def test_gripper_and_rotation_are_mended_where_asked(data, bridge):
    """20 and 20b: Bridge's gripper may end undecided, and its angles may jump by a whole turn."""
    data = replace(data, root=str(bridge), mixture="bridge_orig")
    part = Corpus.open(data, INPUTS).parts[0]
    part.index.actions[3, 3] = 6.2  # as where an angle passes pi
    part.index.actions[5, 6] = 0.4
    mended = type(part)(
        part.index, replace(data, unwrap_rotation=True, round_gripper=True), INPUTS, held_out=False
    )
    assert set(np.unique(mended.actions[:, 6])) == {0.0, 1.0}
    assert mended.actions[3, 3] == pytest.approx(6.2 - 2 * np.pi, abs=1e-6)
    others = np.delete(np.arange(200), 3)
    np.testing.assert_array_equal(mended.actions[others, :6], part.index.actions[others, :6])
    assert mended.statistics.action.max[3] < 6


def test_a_crop_shows_image_and_clip_the_same_window(data):
    augment = AugmentConfig(crop=0.5)
    inputs = replace(INPUTS, image=replace(INPUTS.image, crop=0.5))
    cropped = Corpus.open(replace(data, augment=augment), inputs)
    plain = Corpus.open(data, INPUTS)
    for position in range(12):
        sample, whole = cropped.sample(position), plain.sample(position)
        assert sample.clip is not None
        np.testing.assert_array_equal(sample.image, sample.clip[2])  # the present frame, of the same size
        assert (sample.image != whole.image).any()
    unmoved = Corpus.open(replace(data, augment=replace(augment, clip=False)), inputs)
    batch, before = unmoved.batch(np.arange(12)), plain.batch(np.arange(12))
    assert batch.clips is not None
    np.testing.assert_array_equal(batch.clips, before.clips)
    np.testing.assert_array_equal(batch.images, cropped.batch(np.arange(12)).images)


def test_held_out_samples_show_the_middle_as_serving_does(data):
    inputs = replace(INPUTS, image=replace(INPUTS.image, crop=0.5))
    still = AugmentConfig(crop=0.5, brightness=0.3, clip=False).still()
    held = Corpus.open(replace(data, augment=still, held_out=0.25), inputs, held_out=True)
    whole = Corpus.open(replace(data, held_out=0.25), INPUTS, held_out=True)
    for position in range(5):
        image = whole.sample(position).image.transpose(1, 2, 0)
        np.testing.assert_array_equal(held.sample(position).image, prepare_image(image, inputs.image))
    np.testing.assert_array_equal(held.batch(np.arange(5)).clips, whole.batch(np.arange(5)).clips)


@pytest.mark.parametrize(
    ("augment", "crop", "told"),
    [
        (AugmentConfig(crop=0.9), 1.0, "data.augment.crop is 0.9 but inputs.image.crop 1.0"),
        (AugmentConfig(), 0.0, "inputs.image.crop is 0.0"),
        (AugmentConfig(crop=1.5), 1.0, "data.augment.crop is 1.5"),
        (AugmentConfig(mirror=True, clip=False), 1.0, "mirror flips actions"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(data, augment, crop, told):
    inputs = replace(INPUTS, image=replace(INPUTS.image, crop=crop))
    with pytest.raises(UsageError, match=re.escape(told)):
        Corpus.open(replace(data, augment=augment), inputs)
