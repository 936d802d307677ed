"""Paths of a plan against what is on the disks."""

from __future__ import annotations

from pathlib import Path

from stair.submit.preflight.paths import Paths, Reads, Seen, check_paths, look, paths_to_look_at
from stair.submit.preflight.verdict import Verdict

DATA = "--stage1.train.data.root"


def check(paths: Paths) -> Verdict:
    return check_paths(paths, look(paths_to_look_at(paths)))


def test_what_exists_or_will_be_made_is_fine(tmp_path: Path):
    (tmp_path / "data").mkdir()
    paths = Paths(
        run=str(tmp_path / "runs" / "new"),
        cwd=str(tmp_path),
        reads=(
            Reads("stage1", "data", DATA),
            Reads("stage2", f"{tmp_path}/runs/new/stage1", "--stage2.train.init_from"),
        ),
        made={f"{tmp_path}/runs/new/stage1": "stage1"},
    )
    assert check(paths) == Verdict()


def test_a_missing_path_is_told_with_the_part_that_exists_and_its_flag(tmp_path: Path):
    paths = Paths(str(tmp_path), str(tmp_path), (Reads("stage1", "data/bridge", DATA),))
    (refusal,) = check(paths).refusals
    assert (refusal.id, refusal.step) == ("path", "stage1")
    assert refusal.possible == f"there is only {tmp_path}, and no step makes it"
    assert refusal.cure.startswith(DATA)


def test_a_step_does_not_make_what_it_reads_itself(tmp_path: Path):
    reads = (Reads("stage1", "out/x", "--stage1.train.init_from"),)
    paths = Paths(str(tmp_path), str(tmp_path), reads, made={f"{tmp_path}/out": "stage1"})
    assert [refusal.id for refusal in check(paths).refusals] == ["path"]


def test_paths_inside_an_image_are_followed_back_through_the_deepest_bind(tmp_path: Path):
    (tmp_path / "lake" / "deep" / "bridge").mkdir(parents=True)
    binds = (f"{tmp_path}:/data", f"{tmp_path}/lake/deep:/data/rlds:ro")
    reads = (Reads("stage1", "/data/rlds/bridge", DATA),)
    assert check(Paths(str(tmp_path), str(tmp_path), reads, binds=binds)) == Verdict()
    outside = (Reads("stage1", "/data/rlds/bridge", DATA, inside=False),)
    (refusal,) = check(Paths(str(tmp_path), str(tmp_path), outside, binds=binds)).refusals
    assert refusal.asked == "/data/rlds/bridge"
    missing = (Reads("stage1", "/data/rlds/fractal", DATA),)
    (refusal,) = check(Paths(str(tmp_path), str(tmp_path), missing, binds=binds)).refusals
    assert refusal.asked == f"/data/rlds/fractal ({tmp_path}/lake/deep/fractal on this machine)"


def test_the_host_part_of_a_bind_must_exist(tmp_path: Path):
    paths = Paths(str(tmp_path), str(tmp_path), binds=(f"{tmp_path}/gone:/data:ro",))
    (refusal,) = check(paths).refusals
    assert (refusal.id, refusal.cure) == ("bind", "container.binds of the profile")


def test_a_run_that_needs_more_than_is_free_is_refused(tmp_path: Path):
    paths = Paths(str(tmp_path / "run"), str(tmp_path), bytes_needed=10**18)
    (refusal,) = check(paths).refusals
    assert refusal.id == "space"
    assert refusal.asked.startswith("about 1000000.0 TB in ")
    assert check(Paths(str(tmp_path / "run"), str(tmp_path), bytes_needed=1)) == Verdict()


def test_what_one_may_not_do_is_refused():
    paths = Paths("/lake/run", "/home", (Reads("stage1", "/lake/secret", DATA),))
    seen = {
        "/home": Seen(True, True, "/home", True, 1),
        "/lake/run": Seen(False, parent="/lake"),
        "/lake/secret": Seen(True, False, "/lake/secret"),
    }
    assert [refusal.id for refusal in check_paths(paths, seen).refusals] == ["path-permission", "run-folder"]


def test_folders_that_every_node_has_for_itself_are_a_note_where_the_job_runs_elsewhere(tmp_path: Path):
    seen = {"/tmp/run": Seen(True, True, "/tmp/run", True, 1), "/home": Seen(True, True, "/home", True, 1)}
    assert check_paths(Paths("/tmp/run", "/home"), seen).notes == ()
    (note,) = check_paths(Paths("/tmp/run", "/home", elsewhere=True), seen).notes
    assert note.startswith("/tmp/run: /tmp is usually another place on every node")


def test_looking_at_a_file_below_a_file_finds_nothing(tmp_path: Path):
    (tmp_path / "file").touch()
    seen = look([str(tmp_path / "file" / "x"), str(tmp_path / "file")])
    assert not seen[str(tmp_path / "file" / "x")].exists
    assert seen[str(tmp_path / "file")].readable
