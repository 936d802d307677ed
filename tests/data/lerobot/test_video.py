"""Frames of videos by their numbers, by both decoders."""

import multiprocessing
import os

import numpy as np
import pytest

from stair.data.lerobot import encode
from stair.data.lerobot import video as videos
from stair.data.lerobot.encode import encode_video, join_videos
from stair.data.lerobot.video import VideoFrames, choose_decoder, open_video
from stair.errors import StairError, UsageError
from tests.data.lerobot.made import psnr, smooth_pictures

pytest.importorskip("av")
FPS = 5.0
LENGTH = 40


def torchcodec_works() -> bool:
    try:
        import torchcodec.decoders  # noqa: F401  # type: ignore[import-not-found]
    except (ImportError, RuntimeError, OSError):
        return False
    return True


DECODERS = [
    "pyav",
    pytest.param(
        "torchcodec",
        marks=[
            pytest.mark.optional,
            pytest.mark.skipif(not torchcodec_works(), reason="torchcodec or FFmpeg's libraries"),
        ],
    ),
]


@pytest.fixture(scope="module", params=["h264", "av1"])
def video(tmp_path_factory, request):
    """One file, and the pictures that went in."""
    path = tmp_path_factory.mktemp("video") / "episode.mp4"
    pictures = smooth_pictures(LENGTH, 3)
    encode_video(path, pictures, FPS, request.param)
    return path, pictures


def nearest(image: np.ndarray, pictures) -> int:
    return int(np.argmax([psnr(image, picture) for picture in pictures]))


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_frame_is_the_picture_of_its_number_in_whatever_order(video, decoder):
    path, pictures = video
    opened = open_video(str(path), FPS, decoder)
    assert opened.frames == LENGTH
    for number in np.random.default_rng(0).permutation(LENGTH).tolist():
        image = opened.take([number])[0]
        assert image.shape == (64, 64, 3)
        assert image.dtype == np.uint8
        assert psnr(image, pictures[number]) > 27
        assert nearest(image, pictures) == number


@pytest.mark.skipif(os.geteuid() != 0, reason="only a root's processes become real-time ones")
def test_who_encodes_is_scheduled_as_before(tmp_path):
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    encode_video(tmp_path / "it.mp4", smooth_pictures(3, 3), FPS, "av1")
    assert (os.sched_getscheduler(0), os.sched_getparam(0)) == before
    assert {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")} == {before[0]}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("numbers", [[0, 1, 2], [3, 7, 11, 15, 19], [0, 39], [36, 37, 38, 39], [5]])
def test_a_clip_is_the_frames_one_by_one(video, decoder, numbers):
    path, _ = video
    alone = [open_video(str(path), FPS, decoder).take([number])[0] for number in numbers]
    for one, other in zip(open_video(str(path), FPS, decoder).take(numbers), alone, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pyav_runs_through_a_clip_where_key_frames_are_far_apart(tmp_path, monkeypatch):
    monkeypatch.setitem(encode.ENCODERS["h264"]["libx264"], "g", "30")
    pictures = smooth_pictures(LENGTH, 3)
    encode_video(tmp_path / "it.mp4", pictures, FPS, "h264")
    opened = open_video(str(tmp_path / "it.mp4"), FPS, "pyav")
    assert opened.run == videos.SHORT_RUN  # type: ignore[attr-defined]
    for numbers in ([12, 16, 20, 24, 28], [2, 6, 10, 14, 39]):
        assert [nearest(image, pictures) for image in opened.take(numbers)] == numbers
    assert opened.run == videos.LONG_RUN  # type: ignore[attr-defined]


@pytest.mark.parametrize("decoder", DECODERS)
def test_joined_videos_have_the_frames_of_their_parts(tmp_path, decoder):
    lengths, pictures, parts = (7, 1, 12), [], []
    for number, length in enumerate(lengths):
        some = smooth_pictures(length, number)
        parts.append(tmp_path / f"{number}.mp4")
        encode_video(parts[-1], some, 3.0, "av1")
        pictures += some
    join_videos(tmp_path / "joined.mp4", parts, lengths, 3.0)
    opened = open_video(str(tmp_path / "joined.mp4"), 3.0, decoder)
    assert opened.frames == sum(lengths)
    apart = [
        image
        for n, part in enumerate(parts)
        for image in open_video(str(part), 3.0, decoder).take(range(lengths[n]))
    ]
    for one, other in zip(opened.take(range(sum(lengths))), apart, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.mp4", "1.mp4", "2.mp4", "joined.mp4"]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_clip_is_decoded_in_one_pass_and_then_handed_out(video, decoder, monkeypatch):
    path, _ = video
    reader = VideoFrames([str(path)], FPS, decoder)
    reader.expect(np.array([[0, n, LENGTH] for n in (12, 4, 8, 12, 16, 20)]))
    opened = reader.open_videos[0]
    monkeypatch.setattr(type(opened), "take", None)
    assert len({reader.read(0, n, LENGTH).tobytes() for n in (4, 8, 12, 16, 20)}) == 5


@pytest.mark.parametrize("decoder", DECODERS)
def test_only_so_many_videos_stay_open(video, decoder, monkeypatch, tmp_path):
    monkeypatch.setattr(videos, "KEPT", 2)
    path, pictures = video
    files = [str(tmp_path / f"{n}.mp4") for n in range(5)]
    for file in files:
        os.link(path, file)
    reader = VideoFrames(files, FPS, decoder)
    for file in (0, 1, 2, 3, 4, 0):
        assert nearest(reader.read(file, 9, LENGTH), pictures) == 9
        assert len(reader.open_videos) <= 2
    reader.close()


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_forked_process_opens_its_own_and_reads_the_same(video, decoder):
    path, _ = video
    reader = VideoFrames([str(path)], FPS, decoder)
    expected = reader.read(0, 17, LENGTH)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        sender.send_bytes(reader.read(0, 17, LENGTH).tobytes())
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    assert receiver.poll(60)
    assert receiver.recv_bytes() == expected.tobytes()
    process.join()
    np.testing.assert_array_equal(reader.read(0, 17, LENGTH), expected)


@pytest.mark.parametrize("decoder", DECODERS)
def test_another_rate_than_the_videos_is_noticed(video, decoder):
    path, _ = video
    with pytest.raises(StairError, match=r"(were asked for, by their time stamps|cannot decode|ends after)"):
        open_video(str(path), 3.0, decoder).take([10, 11])


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_frame_beyond_the_end_is_refused(video, decoder):
    path, _ = video
    with pytest.raises(StairError, match=r"episode.mp4"):
        open_video(str(path), FPS, decoder).take([LENGTH + 3])


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_no_video_or_not_there_is_refused_by_name(tmp_path, decoder):
    path = tmp_path / "some.mp4"
    with pytest.raises(StairError, match=r"some.mp4 is missing"):
        open_video(str(path), FPS, decoder)
    path.write_bytes(b"\0" * 1000)
    with pytest.raises(StairError, match=r"some.mp4: cannot decode it .*1000 bytes"):
        open_video(str(path), FPS, decoder)


def test_without_torchcodec_pyav_decodes_and_says_so(monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    choose_decoder.cache_clear()
    try:
        assert choose_decoder() == "pyav"
        assert choose_decoder() == "pyav"
        assert capsys.readouterr().err.count("videos are decoded by PyAV") == 1
        monkeypatch.setitem(sys.modules, "av", None)
        choose_decoder.cache_clear()
        with pytest.raises(StairError, match="cannot be decoded") as caught:
            choose_decoder()
        assert "pip install av" in caught.value.hint
    finally:
        choose_decoder.cache_clear()


def test_what_cannot_be_encoded_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(UsageError, match="unknown video codec 'mpeg1'"):
        encode_video(tmp_path / "a.mp4", smooth_pictures(2, 0), FPS, "mpeg1")
    with pytest.raises(StairError, match="64 x 63 pixels"):
        encode_video(tmp_path / "a.mp4", [p[:63] for p in smooth_pictures(2, 0)], FPS, "h264")
    assert list(tmp_path.iterdir()) == []
