import itertools
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from stair.data import loader as loader_module
from stair.data.config import AugmentConfig, ClipConfig, DataConfig, ImageConfig, InputConfig
from stair.data.loader import Corpus, Loader
from stair.errors import StairError, UsageError
from tests.processes import is_running, wait_for

INPUTS = InputConfig(image=ImageConfig(24), clip=ClipConfig(image_size=24))


@pytest.fixture
def corpus(tabletop):
    augment = AugmentConfig(shift=0.1, mirror=True)
    return Corpus.open(DataConfig(root=str(tabletop), seed=1, augment=augment), INPUTS)


def take(loader, count):
    return list(itertools.islice(loader, count))


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)  # NaN equals NaN


def test_steps_follow_each_other_through_the_global_order(corpus):
    batches = take(Loader(corpus, 10), 4)
    assert torch.cat([b.positions for b in batches]).tolist() == list(range(40))


def test_a_resumed_run_sees_what_the_uninterrupted_one_saw(corpus):
    whole = take(Loader(corpus, 8), 30)  # crosses the turn of an epoch
    assert_same(take(Loader(corpus, 8, start_step=17), 13), whole[17:])


def test_two_ranks_see_the_global_batch_of_one(corpus):
    alone = take(Loader(corpus, 8), 3)
    ranks = [take(Loader(corpus, 4, rank=r, world=2, global_batch=8), 3) for r in (0, 1)]
    for step in range(3):
        for name in ("images", "clips", "actions", "waypoints", "positions", "proprio"):
            both = torch.cat([getattr(ranks[r][step], name) for r in (0, 1)])
            np.testing.assert_array_equal(both, getattr(alone[step], name), err_msg=name)


def test_worker_processes_change_nothing(corpus):
    assert_same(take(Loader(corpus, 8, start_step=2, workers=2), 5), take(Loader(corpus, 8, start_step=2), 5))


def test_a_reader_used_before_the_fork_is_opened_anew_in_the_worker(corpus):
    corpus.sample(0)
    assert corpus.parts[0].reader.open_files
    assert_same(take(Loader(corpus, 8, workers=1), 3), take(Loader(corpus, 8), 3))


def test_without_clips_none_are_made(corpus):
    assert take(Loader(corpus, 4, with_clips=False), 1)[0].clips is None


def test_the_tensorflow_reader_says_what_it_needs(tabletop):
    try:
        import tensorflow_datasets  # noqa: F401
    except ImportError:
        with pytest.raises(StairError, match=r"data\.reader tf needs tensorflow") as caught:
            Corpus.open(DataConfig(root=str(tabletop), reader="tf"), INPUTS)
        assert "stair-vla[tf]" in caught.value.hint


def test_an_uneven_split_is_refused(corpus):
    with pytest.raises(UsageError, match="a batch of 10 does not split into 4 x 2"):
        Loader(corpus, 2, world=4, global_batch=10)


@pytest.mark.parametrize("workers", [0, 1])
def test_data_that_disappears_is_a_two_line_error_from_workers_too(corpus, workers):
    for file in corpus.parts[0].index.files:
        os.truncate(file, 10)
    with pytest.raises(StairError, match="the file ends there") as caught:
        take(Loader(corpus, 4, workers=workers), 1)
    assert "Traceback" not in str(caught.value)
    assert caught.value.hint


def test_a_worker_that_is_killed_is_told_in_two_lines(tabletop):
    """In a process of its own: torch tells of a lost worker by a signal, which may hit any line of Python."""
    script = f"""
import multiprocessing, signal, subprocess
from stair.data.config import *
from stair.data.loader import Corpus, Loader
from stair.errors import StairError
inputs = InputConfig(image=ImageConfig(24), clip=ClipConfig(image_size=24))
batches = iter(Loader(Corpus.open(DataConfig(root={str(tabletop)!r}), inputs), 4, workers=1))
next(batches)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's own would raise wherever Python stands
(worker,) = multiprocessing.active_children()
subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {{worker.pid}}"])
try:
    while True:
        next(batches)
except StairError as error:
    print("TOLD", error.what)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180)
    assert "TOLD a reader process died" in done.stdout, done.stderr


def test_a_worker_whose_trainer_is_killed_ends_though_nobody_takes_its_batches(tabletop):
    """Four batches of 128 are more than a pipe holds: it waits for room, where torch does not look around."""
    script = f"""
import gc, multiprocessing, select, time
from stair.data.config import *
from stair.data.loader import Corpus, Loader
inputs = InputConfig(image=ImageConfig(24), clip=ClipConfig(image_size=24))
batches = iter(Loader(Corpus.open(DataConfig(root={str(tabletop)!r}), inputs), 128, workers=1))
next(batches)
(torchs,) = (one for one in gc.get_objects() if type(one).__name__ == "_MultiProcessingDataLoaderIter")
while select.select([], [torchs._data_queue._writer.fileno()], [], 0)[1]:
    time.sleep(0.01)
print(multiprocessing.active_children()[0].pid, flush=True)
time.sleep(1000)
"""
    trainer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert trainer.stdout is not None
        worker = int(trainer.stdout.readline())
    finally:
        trainer.kill()
        trainer.wait()
    wait_for(lambda: not is_running(worker), 240)


def test_waiting_is_counted(corpus):
    loader = Loader(corpus, 8)
    take(loader, 3)
    assert loader.waited_s > 0


def signal_as_slurm_does(pid):
    """By a process that is not the trainer."""
    for name in ("TERM", "USR1", "USR2", "INT"):
        subprocess.run(["kill", f"-{name}", str(pid)], check=True)


def test_workers_live_on_when_slurm_signals_the_whole_job(corpus):
    others = multiprocessing.active_children()
    loader = Loader(corpus, 4, workers=1)
    batches = iter(loader)
    next(batches)
    (worker,) = (child for child in multiprocessing.active_children() if child not in others)
    signal_as_slurm_does(worker.pid)
    assert len([next(batches) for _ in range(20)]) == 20


def test_workers_live_on_when_slurm_signals_the_job_while_they_start(corpus, monkeypatch):
    real = loader_module._leave_signals_to_parent

    def signalled_before(parent, worker):
        signal_as_slurm_does(os.getpid())
        real(parent, worker)

    monkeypatch.setattr(loader_module, "_leave_signals_to_parent", signalled_before)
    assert len(take(Loader(corpus, 4, workers=1), 20)) == 20


def test_a_run_that_ends_with_its_workers_at_work_ends_at_once(tabletop):
    script = f"""
from stair.data.config import *
from stair.data.loader import Corpus, Loader
inputs = InputConfig(image=ImageConfig(24), clip=ClipConfig(image_size=24))
batches = iter(Loader(Corpus.open(DataConfig(root={str(tabletop)!r}), inputs), 4, workers=2))
next(batches)
kept = [batches, lambda: kept]  # a circle, so that the interpreter ends before the loader does
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=180, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_held_out_data_has_a_loader_of_its_own(tabletop):
    data = DataConfig(root=str(tabletop), held_out=0.25)
    held = Corpus.open(data, INPUTS, held_out=True)
    batch = take(Loader(held, len(held)), 1)[0]
    rest = Corpus.open(replace(data), INPUTS)
    other = rest.batch(np.arange(len(rest)))
    assert not {tuple(r) for r in batch.proprio.tolist()} & {tuple(r) for r in other.proprio.tolist()}
