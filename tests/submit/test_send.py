"""Plans become run folders and jobs of submitit's local executor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from stair import origin
from stair.errors import StairError, UsageError
from stair.origin import code_state
from stair.rundir import RunDir
from stair.submit import send as send_module
from stair.submit.manifest import write_manifest
from stair.submit.plan import Plan
from stair.submit.send import Listener, Tail, follow, send
from stair.submit.worker import Outcome, only_worker
from tests.processes import is_running, wait_for
from tests.submit.scripted import DEAF, TRAINER, WAIT_S, a_plan, a_step, wait_for_line


def run_through(plan: Plan) -> Outcome:
    with Listener() as listener:
        return follow(Tail(plan), send(plan, listener), listener)


def test_a_sent_plan_leaves_plan_settings_manifest_and_logs(tmp_path: Path, capsys):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", "print('hello')", steps=3))
    outcome = run_through(plan)
    assert outcome.state == "done"
    assert (run / "plan.json").read_text() == plan.text()
    assert (run / "one" / "settings.yaml").read_text() == "steps: 3\n"
    submitted = json.loads((run / "manifest.json").read_text())["submit"]
    assert submitted["recipe"] == "scripted"
    assert submitted["attempts"][0]["job"]["executor"] == "local"
    assert "one │ hello" in capsys.readouterr().err


def test_no_object_of_ours_is_in_the_pickle(tmp_path: Path):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", "print('hello')"))
    run_through(plan)
    (pickled,) = (run / "logs" / "submitit").glob("*_submitted.pkl")
    content = pickled.read_bytes()
    assert b"run_plan" in content
    assert b"Step" not in content
    assert b"hello" not in content


def test_other_settings_in_the_same_run_folder_are_refused_by_name(tmp_path: Path):
    run = tmp_path / "run"
    RunDir(run).create().plan.write_text(a_plan(run, a_step(run, "one", "", steps=3)).text())
    with pytest.raises(UsageError, match=r"other settings: train\.steps") as caught:
        send(a_plan(run, a_step(run, "one", "", steps=4)), Listener())
    assert "--run" in caught.value.hint


def test_a_run_folder_with_a_job_at_work_is_refused(tmp_path: Path):
    plan = a_plan(tmp_path, a_step(tmp_path, "one", ""))
    with only_worker(RunDir(tmp_path)), pytest.raises(StairError, match="at work"):
        send(plan, Listener())


def test_a_run_folder_under_a_file_is_an_expected_failure(tmp_path: Path):
    (tmp_path / "file").write_text("")
    run = tmp_path / "file" / "run"
    with pytest.raises(StairError, match="cannot make folder"):
        send(a_plan(run, a_step(run, "one", "")), Listener())


@pytest.mark.usefixtures("heard_interrupts")
def test_an_interrupt_stops_the_job_in_order_and_repeating_goes_on(tmp_path: Path):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", TRAINER))
    log = run / "logs" / "one.log"

    def interrupt() -> None:
        wait_for_line(log, "step 3 ")
        os.kill(os.getpid(), signal.SIGINT)

    with Listener() as listener:
        tail, job = Tail(plan), send(plan, listener)
        threading.Thread(target=interrupt).start()
        assert follow(tail, job, listener).state == "stopped"
    saved = int((run / "one" / "state").read_text())
    assert run_through(plan).state == "done"
    assert f"trained from {saved}" in log.read_text()
    assert len(json.loads((run / "manifest.json").read_text())["submit"]["attempts"]) == 2


@pytest.mark.usefixtures("heard_interrupts")  # a child inherits what is ignored
def test_a_terminal_interrupt_reaches_only_the_one_who_waits(tmp_path: Path):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", TRAINER))
    RunDir(run).create()
    (tmp_path / "plan.json").write_text(plan.text())
    code = """
import sys
from pathlib import Path
from stair.submit.plan import read_plan
from stair.submit.send import Listener, Tail, follow, send
plan = read_plan(Path(sys.argv[1]))
with Listener() as listener:
    print(follow(Tail(plan), send(plan, listener), listener).state)
"""
    words = [sys.executable, "-c", code, str(tmp_path / "plan.json")]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = run / "logs" / "one.log"
    wait_for_line(log, "step 3 ")
    os.killpg(process.pid, signal.SIGINT)  # as a Ctrl-C does: submitit's processes get it too
    out, _ = process.communicate(timeout=WAIT_S)
    assert out == "stopped\n"
    assert "saved" in log.read_text()


@pytest.mark.usefixtures("heard_interrupts")
def test_an_interrupt_before_there_is_a_job_ends_the_sender(tmp_path: Path, monkeypatch):
    run = tmp_path / "run"
    interrupt = lambda *_: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    monkeypatch.setattr(send_module, "write_settings", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_through(a_plan(run, a_step(run, "one", TRAINER)))
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert not (run / "logs" / "submitit").exists()


@pytest.mark.usefixtures("heard_interrupts")
def test_an_interrupt_while_the_job_is_being_sent_stops_it_too(tmp_path: Path, monkeypatch):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", TRAINER))

    def write_interrupted(*facts: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write_manifest(*facts)  # type: ignore[arg-type]

    monkeypatch.setattr(send_module, "write_manifest", write_interrupted)
    assert run_through(plan).state == "stopped"
    assert len(json.loads((run / "manifest.json").read_text())["submit"]["attempts"]) == 1


@pytest.mark.usefixtures("heard_interrupts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_sending_and_watching_stops_the_job_too(tmp_path: Path, number: signal.Signals):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", TRAINER))
    with Listener() as listener:
        tail, job = Tail(plan), send(plan, listener)
        wait_for_line(run / "logs" / "one.log", "step 3 ")
        os.kill(os.getpid(), number)
        assert follow(tail, job, listener).state == "stopped"
    assert "saved" in (run / "logs" / "one.log").read_text()


@pytest.mark.usefixtures("heard_interrupts")
def test_two_interrupts_in_one_moment_end_a_deaf_step_at_once(tmp_path: Path, capsys):
    run = tmp_path / "run"
    plan = replace(a_plan(run, a_step(run, "one", DEAF)), grace_s=10 * WAIT_S)
    with Listener() as listener:
        tail, job = Tail(plan), send(plan, listener)
        wait_for_line(run / "logs" / "one.log", "deaf\n")
        for times in (1, 2):
            os.kill(os.getpid(), signal.SIGINT)
            wait_for(lambda times=times: listener.asked == times)
        assert follow(tail, job, listener).state == "stopped"
    assert "ending it at once" in capsys.readouterr().err


def test_the_run_folder_is_held_until_the_job_is_on_record(tmp_path: Path, monkeypatch):
    """A training may fill the folder itself, and write to the same manifest as soon as it begins."""
    run = tmp_path / "run"
    tried = []

    def write_slowly(*facts: object) -> None:
        with pytest.raises(StairError, match="at work"), only_worker(RunDir(run)):
            pass
        tried.append(facts)
        write_manifest(*facts)  # type: ignore[arg-type]

    monkeypatch.setattr(send_module, "write_manifest", write_slowly)
    assert run_through(a_plan(run, a_step(run, "one", "print('hello')"))).state == "done"
    assert len(tried) == 1


def test_a_job_that_cannot_be_recorded_is_not_left_behind(tmp_path: Path, monkeypatch):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", TRAINER))
    jobs = []

    def fail(plan: Plan, run: RunDir, attempt: object, job: str) -> None:
        jobs.append(job)
        raise StairError("cannot write")

    monkeypatch.setattr(send_module, "write_manifest", fail)
    with pytest.raises(StairError, match="cannot write"):
        run_through(plan)
    wait_for(lambda: not is_running(jobs[0]))
    assert not (run / "one" / "done.json").exists()


def test_a_worker_that_is_killed_is_reported_and_nothing_counts_as_done(tmp_path: Path):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", "import os; os.kill(os.getppid(), 9)"))
    outcome = run_through(plan)
    assert outcome.state == "failed"
    assert "without a word" in outcome.what
    assert not (run / "one" / "done.json").exists()


def test_the_tail_shows_whole_lines_once(tmp_path: Path, capsys):
    plan = a_plan(tmp_path, a_step(tmp_path, "one", ""))
    run = RunDir(tmp_path)
    run.logs.mkdir()
    log = run.logs / "one.log"
    log.write_text("of an earlier attempt\n")
    tail = Tail(plan)
    shown = []
    for text in ("a\nb", "c\n", ""):
        with log.open("a") as file:
            file.write(text)
        tail.show()
        shown.append(capsys.readouterr().err)
    assert shown == ["one │ a\n", "one │ bc\n", ""]


def test_a_job_that_ends_before_anybody_looks_is_shown_whole(tmp_path: Path, capsys):
    plan = a_plan(tmp_path, a_step(tmp_path, "one", "print('hello')"))
    assert run_through(plan).state == "done"
    capsys.readouterr()
    with Listener() as listener:
        tail, job = Tail(plan), send(plan, listener)
        job.wait()
        assert follow(tail, job, listener).state == "done"
    assert "one │ ── finished earlier, skipped\n" in capsys.readouterr().err


def test_a_git_that_is_too_slow_does_not_make_clean_code_of_changed(tmp_path: Path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(origin, "_git", lambda checkout, *words: "c0de\n" if "rev-parse" in words else None)
    state = code_state(tmp_path)
    assert (state["commit"], state["changes_sha256"]) == ("c0de", "unknown")


def test_the_manifest_tells_changed_code_from_committed_code(tmp_path: Path):
    def git(*words: str) -> None:
        name = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *name, *words], check=True, capture_output=True)

    assert set(code_state(tmp_path)) == {"version"}
    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    clean = code_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["changes_sha256"] is None
    (tmp_path / "a").write_text("2")
    changed = code_state(tmp_path)
    (tmp_path / "a").write_text("3")
    assert (
        len({clean["changes_sha256"], changed["changes_sha256"], code_state(tmp_path)["changes_sha256"]}) == 3
    )
