"""tools/convert-dataset: both ways, whole or not at all, and going on where it was stopped."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stair.data.config import ClipConfig, DataConfig, ImageConfig, InputConfig
from stair.data.corpus import Corpus
from stair.data.index import open_index
from stair.data.rlds import RldsFolder
from stair.errors import StairError, UsageError
from tests.data.conftest import _own_cache, bridge  # noqa: F401
from tests.data.lerobot.made import SIZE, write_rlds
from tests.processes import wait_for
from tools.editions import edition, to_rlds
from tools.editions.cli import main
from tools.made_fractal import write_fractal

pytest.importorskip("pyarrow")
CHECKOUT = Path(__file__).resolve().parents[2]
INPUTS = InputConfig(image=ImageConfig(48), clip=ClipConfig(image_size=SIZE))


def samples(root: Path, mixture: str, format: str):
    corpus = Corpus.open(DataConfig(root=str(root), mixture=mixture, format=format), INPUTS)  # type: ignore[arg-type]
    return corpus, corpus.batch(np.arange(len(corpus)))


def assert_same(one, other):
    for name, value in vars(one[1]).items():
        np.testing.assert_array_equal(value, getattr(other[1], name), err_msg=name)
    assert one[0].statistics == other[0].statistics


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_from_lerobot_to_rlds_the_samples_stay_the_same_to_the_bit(tmp_path, codec):
    write_rlds(tmp_path / "first")
    words = [str(tmp_path / "first/tabletop/1.0.0"), str(tmp_path / "tabletop_lerobot"), "--to", "lerobot"]
    assert main([*words, "--codec", codec, "--version", "v3.0"]) == 0
    target = tmp_path / "tabletop" / "1.0.0"
    assert main([str(tmp_path / "tabletop_lerobot"), str(target), "--to", "rlds"]) == 0
    assert_same(samples(tmp_path, "tabletop", "lerobot"), samples(tmp_path, "tabletop", "rlds"))


def test_bridge_goes_there_and_back_without_being_standardised_twice(bridge, tmp_path):  # noqa: F811
    source = bridge / "bridge_orig" / "1.0.0"
    there = tmp_path / "lerobot" / "bridge_orig_lerobot"
    back = tmp_path / "rlds" / "bridge_orig" / "1.0.0"
    assert main([str(source), str(there), "--to", "lerobot", "--codec", "jpeg"]) == 0
    assert main([str(there), str(back), "--to", "rlds"]) == 0
    original = samples(bridge, "bridge_orig", "rlds")
    assert_same(original, samples(tmp_path / "lerobot", "bridge_orig", "lerobot"))
    assert_same(original, samples(tmp_path / "rlds", "bridge_orig", "rlds"))
    folder = RldsFolder.open(back)
    assert "standardised" in folder.features.metadata["standard"].description
    raw = next(folder.episodes("train"))
    assert bytes(raw.spans("episode_metadata/standard")[0]) == b"standardised"


def test_fractal_goes_there_and_back(tmp_path):
    write_fractal(tmp_path / "first", (6, 9, 4))
    source = tmp_path / "first" / "fractal20220817_data" / "0.1.0"
    there = tmp_path / "fractal20220817_data_lerobot"
    back = tmp_path / "fractal20220817_data" / "0.1.0"
    assert main([str(source), str(there), "--to", "lerobot", "--codec", "jpeg"]) == 0
    assert main([str(there), str(back), "--to", "rlds"]) == 0
    original = samples(tmp_path / "first", "fractal20220817_data", "rlds")
    assert_same(original, samples(tmp_path, "fractal20220817_data", "rlds"))
    assert_same(original, samples(tmp_path, "fractal20220817_data", "lerobot"))


def test_an_unknown_standard_in_an_episode_is_refused(tmp_path, monkeypatch):
    write_rlds(tmp_path / "first")
    there, back = tmp_path / "tabletop_lerobot", tmp_path / "tabletop" / "1.0.0"
    assert (
        main([str(tmp_path / "first/tabletop/1.0.0"), str(there), "--to", "lerobot", "--codec", "jpeg"]) == 0
    )
    monkeypatch.setattr(to_rlds, "STANDARDISED", "as in 2031")
    assert main([str(there), str(back), "--to", "rlds"]) == 0
    with pytest.raises(StairError, match="record 0: episode_metadata/standard is 'as in 2031'"):
        open_index(tmp_path, "tabletop", "train", format="rlds")


def test_the_result_as_json_and_the_first_episodes_only(tmp_path, capsys):
    source = write_rlds(tmp_path / "first")
    words = [str(source), str(tmp_path / "it"), "--to", "lerobot", "--codec", "jpeg", "--episodes", "2"]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["form"], facts["episodes"], facts["steps"]) == ("LeRobot v2.1, jpeg", 2, 10)
    assert facts["bytes"] == sum(
        path.stat().st_size for path in (tmp_path / "it").rglob("*") if path.is_file()
    )
    back = tmp_path / "tabletop" / "1.0.0"
    assert main([str(tmp_path / "it"), str(back), "--to", "rlds", "--name", "tabletop"]) == 0
    assert "2" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["lerobot", "rlds"])
def test_a_killed_conversion_goes_on_and_ends_as_an_undisturbed_one(tmp_path, to):
    source = write_rlds(tmp_path / "first")
    if to == "rlds":
        assert main([str(source), str(tmp_path / "it_lerobot"), "--to", "lerobot", "--codec", "jpeg"]) == 0
        source = tmp_path / "it_lerobot"
    name = "it" if to == "lerobot" else "1.0.0"
    words = [str(source), "--to", to, "--name", "tabletop", "--codec", "jpeg"]
    whole, target = tmp_path / "whole" / name, tmp_path / "killed" / name
    assert main([words[0], str(whole), *words[1:]]) == 0
    held = (  # it does not come to its end, however late it is killed
        "import itertools, os, sys, time; turns = itertools.count(1);"
        "turn = lambda: next(turns) < 4 or time.sleep(1000);"
        "os.fsync = lambda f: turn();"
        "from tools.editions import to_rlds; real = to_rlds.frame;"
        "to_rlds.frame = lambda b: turn() and real(b);"
        "from tools.editions.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", held, words[0], str(target), *words[1:]]
    process = subprocess.Popen(command, cwd=CHECKOUT)
    work = target.with_name(f".{name}.writing")

    def two_are_written() -> bool:
        return len(list(work.rglob("*.parquet")) + list(work.rglob("*.record"))) >= 2

    try:
        wait_for(lambda: two_are_written() or process.poll() is not None, 240.0)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not target.exists()
    assert main([words[0], str(target), *words[1:]]) == 0
    assert files(target) == files(whole)
    for name in files(whole):
        assert (target / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("to", ["lerobot", "rlds"])
def test_a_conversion_that_still_runs_is_not_gone_on_with_by_a_second_one(tmp_path, to, monkeypatch):
    source = write_rlds(tmp_path / "first")
    if to == "rlds":
        assert main([str(source), str(tmp_path / "it_lerobot"), "--to", "lerobot", "--codec", "jpeg"]) == 0
        source = tmp_path / "it_lerobot"
    words = [str(source), str(tmp_path / "1.0.0"), "--to", to, "--name", "tabletop", "--codec", "jpeg"]
    wrote, refused = edition.Room.wrote, []

    def begin_a_second(room, *sizes):
        monkeypatch.undo()
        with pytest.raises(StairError, match=r"\.1\.0\.0\.writing is being written by another process"):
            main(words)
        refused.append(to)
        wrote(room, *sizes)

    monkeypatch.setattr(edition.Room, "wrote", begin_a_second)
    assert main(words) == 0
    assert refused == [to]


def test_a_disk_that_is_too_small_stops_it_with_both_numbers(tmp_path, monkeypatch):
    source = write_rlds(tmp_path / "first")
    monkeypatch.setattr(edition, "SPARE", 10**18)
    with pytest.raises(StairError, match=r"needs 1000000.0 TB, the disk has .* free"):
        main([str(source), str(tmp_path / "it"), "--to", "lerobot", "--codec", "jpeg"])
    assert not (tmp_path / "it").exists()


def test_room_is_judged_by_what_was_written(tmp_path, monkeypatch):
    room = edition.Room(tmp_path, 1000)
    asked = []
    monkeypatch.setattr(edition, "require_space", lambda folder, needed: asked.append(needed))
    for number in range(edition.FIRST_LOOK):
        room.wrote(1000, 999 - number)
    assert asked == [edition.SPARE + (1000 - edition.FIRST_LOOK) * 1000]


def test_what_cannot_be_meant_is_refused(tmp_path):
    source = write_rlds(tmp_path / "first")
    it = str(tmp_path / "it")
    with pytest.raises(UsageError, match="is rlds already"):
        main([str(source), it, "--to", "rlds"])
    with pytest.raises(UsageError, match="there is no folder"):
        main([str(tmp_path / "none"), it, "--to", "rlds"])
    with pytest.raises(UsageError, match="unknown data set 'kitchen'"):
        main([str(source), it, "--to", "lerobot", "--name", "kitchen"])
    assert main([str(source), it, "--to", "lerobot", "--codec", "jpeg"]) == 0
    with pytest.raises(StairError, match="it exists"):
        main([str(source), it, "--to", "lerobot", "--codec", "jpeg"])
    with pytest.raises(UsageError, match="nobody knows 'it'"):
        main([it, str(tmp_path / "1.0.0"), "--to", "rlds"])
    with pytest.raises(UsageError, match="RLDS has no av1"):
        main([it, str(tmp_path / "1.0.0"), "--to", "rlds", "--codec", "av1"])


def test_the_command_itself_answers():
    tool = CHECKOUT / "tools" / "convert-dataset"
    done = subprocess.run([sys.executable, str(tool), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--codec" in done.stdout
