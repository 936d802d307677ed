"""The fact sheet: its shape under every interpreter, its children, and sections read from made-up trees."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stair.doctor import probe
from tests.doctor.probing import PROBE, check_shape, run_probe
from tests.processes import is_running, said, wait_for

VERSIONS = Path.home() / ".pyenv" / "versions"
PYTHONS = ("3.6", "3.7", "3.8", "3.12")


# The whole sheet


@pytest.mark.optional  # which interpreters there are is the machine's affair
@pytest.mark.parametrize("version", PYTHONS)
def test_an_interpreter_of_any_age_gives_the_whole_sheet(version: str, tmp_path: Path):
    found = sorted(VERSIONS.glob(version + ".*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} under {VERSIONS}")
    sheet = run_probe(str(tmp_path), "--timeout", "20", python=(str(found[0]), "-I", "-S"))
    check_shape(sheet)
    assert [name for name in probe.SECTIONS if "failed" in (sheet[name] or ())] == []
    assert sheet["python"]["version"][:2] == [int(part) for part in version.split(".")]
    assert sheet["disks"][0]["path"] == str(tmp_path)


def test_the_syntax_is_that_of_python_3_6():
    ast.parse(PROBE.read_text(), feature_version=(3, 6))


def test_it_comes_over_stdin_and_leaves_nothing_behind(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-I", "-", str(tmp_path), "--only", "disks,cpu"],
        stdin=PROBE.open(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    sheet = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(sheet) - {"disks", "cpu"} == {"probe", "time", "clock", "took_s", "host", "inside", "nvoptix"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [">&-", "| true", "<&- >&- 2>&-"])
def test_nobody_listening_is_no_traceback(ending: str, tmp_path: Path):
    told = tmp_path / "stderr"
    words = f"{sys.executable} -I {PROBE} --only python,cpu 2>{told} {ending}"
    subprocess.run(["sh", "-c", words], check=False, timeout=60, stdout=subprocess.DEVNULL)
    assert not told.exists() or told.read_text() == ""


def test_wrong_words_are_refused_with_the_known_ones():
    for words in (["--only", "cpu,nonsense"], ["--timeout", "soon"], ["--timeout"], ["--fast"]):
        done = subprocess.run([sys.executable, PROBE, *words], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert "probe.py [FOLDER]" in done.stderr
    assert "vulkan" in probe_error("--only", "nonsense")


def probe_error(*words: str) -> str:
    return subprocess.run([sys.executable, PROBE, *words], capture_output=True, text=True, timeout=60).stderr


def test_a_process_with_threads_asks_another_interpreter(monkeypatch):
    monkeypatch.setattr(probe, "gather", lambda *given: pytest.fail("forked beside a running thread"))
    stop = threading.Event()
    beside = threading.Thread(target=stop.wait)
    beside.start()
    try:
        sheet = probe.collect(only=("cpu",), timeout_s=20.0)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        lost = probe.collect(only=("cpu",))
    finally:
        stop.set()
        beside.join()
    assert sheet["cpu"]["affinity"] == sorted(os.sched_getaffinity(0))
    assert lost["cpu"]["how"] == "error"


def test_json_needs_no_json_module():
    value = {
        "text": 'quote " backslash \\ tab \t bell \x07 é 語 🤖',
        "numbers": [0, -1, 1.5, 1e-9, 2**40],
        "others": [None, True, False, [], {}],
        7: {"nested": ["x"]},
    }
    told = json.loads(probe.as_json(value))
    assert told.pop("7") == value.pop(7)
    assert told == value
    assert json.loads(probe.as_json("file-\udcff")) == "file-?"


def test_json_is_read_without_the_module_too(monkeypatch):
    text = '{"ICD": {"library_path": "a.so", "x": [1, -2.5, true, false, null]}}\n'
    with_it = probe.parse_json(text)
    monkeypatch.setattr(probe, "HAS_JSON", False)
    assert probe.parse_json(text) == with_it
    for broken in ("", "{", '{"a": }', "{a: 1}", "open('x')"):
        with pytest.raises(ValueError, match=r"."):
            probe.parse_json(broken)


# Children


class Clock:
    """The time of `gather`, which stands still until what it waits for has happened: a limit of half a second
    is one that begins when the children have, however busy the machine is."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.time, self.seen = 0.0, time.monotonic()
        self.waits: list[tuple[float, Callable[[], object]]] = []
        patch.setattr(probe, "time", SimpleNamespace(monotonic=self.monotonic, sleep=time.sleep))

    def waits_for(self, happened: Callable[[], object], at: float = 0.0) -> None:
        """It does not pass the moment `at` before; to be said in the order of moments."""
        self.waits.append((at, happened))

    def monotonic(self) -> float:
        now = time.monotonic()
        self.time, self.seen = self.time + now - self.seen, now
        while self.waits and self.time > self.waits[0][0]:
            if not self.waits[0][1]():
                self.time = self.waits[0][0]
                break
            self.time = self.waits.pop(0)[0]
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_ten_that_hang_cost_one_limit_and_the_others_answer(clock: Clock, tmp_path: Path):
    def add() -> int:
        (tmp_path / "added").touch()
        return 1 + 2

    clock.waits_for((tmp_path / "added").exists)
    jobs = [probe.Job(number, time.sleep, 600) for number in range(10)]
    answers = probe.gather([*jobs, probe.Job("sum", add)], 1.0)
    assert clock.time < 9.0
    assert {answers[number].fact()["how"] for number in range(10)} == {"timeout"}
    assert answers["sum"].fact() == 3


def test_a_crash_an_exception_and_a_sudden_end_are_facts():
    answers = probe.gather(
        [
            probe.Job("crash", lambda: os.kill(os.getpid(), 11), wild=True),
            probe.Job("error", lambda: {}["absent"]),
            probe.Job("gone", os._exit, 3),
            probe.Job("refused", refuse),
        ],
        20.0,
    )
    assert answers["crash"].fact() == {"failed": "signal 11", "how": "signal"}
    assert answers["error"].fact() == {"failed": "KeyError: 'absent'", "how": "error"}
    assert answers["gone"].fact() == {"failed": "ended with code 3", "how": "error"}
    assert answers["refused"].fact() == {"failed": "no loader", "how": "error"}


def refuse() -> None:
    raise probe.NoAnswer("no loader")


def test_what_was_told_before_the_end_is_kept(clock: Clock, tmp_path: Path):
    def half():
        yield {"free": 1}
        (tmp_path / "told").touch()
        time.sleep(600)

    clock.waits_for((tmp_path / "told").exists)
    answer = probe.gather([probe.Job("disk", half)], 0.5)["disk"]
    assert (answer.value, answer.failed) == ({"free": 1}, "timeout")


def test_one_that_still_moves_is_given_more_time(clock: Clock, tmp_path: Path):
    """A machine under load is no broken driver; but it is not waited for without end."""
    done = tmp_path / "done"

    def spin(until: float) -> str:
        while clock.monotonic() < until:
            pass
        done.touch()
        return "done"

    clock.waits_for(done.exists, at=2.0)
    answers = probe.gather([probe.Job("slow", spin, 1.6), probe.Job("endless", spin, 600)], 1.0)
    assert answers["slow"].fact() == "done"
    assert answers["endless"].failed == "timeout"
    assert 1.6 < clock.time < 12.0


@pytest.mark.parametrize(("state", "moves"), [("R", True), ("S", False), ("D", False)])
def test_one_that_waits_for_a_processor_moves(state: str, moves: bool, monkeypatch):
    """Its counters stand still, as it does where many share one core; it could go on, which a hang cannot."""
    monkeypatch.setattr(probe, "read", lambda path: f"7 (a) b) {state} 1 7 7 0 -1 0 5 0 0 0 1")
    child = SimpleNamespace(pid=7, counters=None, moved_at=0.0)
    assert probe._Child.moves(child, 1.0, 2.5)
    assert [probe._Child.moves(child, now, 2.5) for now in (3.0, 4.0, 9.0)] == [True, moves, moves]


def test_what_a_child_prints_is_no_part_of_the_answer(capfd):
    def noisy() -> int:
        os.write(1, b"banner\n")
        os.write(2, b"loader: no driver\n")
        return 7

    answers = probe.gather([probe.Job("a", noisy, listen=True), probe.Job("b", noisy)], 20.0)
    assert [(answer.value, answer.said) for answer in answers.values()] == [
        (7, "loader: no driver\n"),
        (7, ""),
    ]
    assert capfd.readouterr() == ("", "")


def test_an_answer_larger_than_a_pipe_arrives_whole():
    assert len(probe.gather([probe.Job("long", lambda: "x" * 3_000_000)], 20.0)["long"].value) == 3_000_000


def test_nothing_is_left_running(clock: Clock, tmp_path: Path, monkeypatch):
    """Neither a hanging child, nor what it started, nor what an answering one left behind."""
    monkeypatch.setattr(probe, "REAP_S", 60.0)

    def fork_and(then) -> int:
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        (tmp_path / f"{os.getpid()} {pid}").touch()
        then()
        return pid

    def begun() -> list[list[int]]:
        return [[int(word) for word in path.name.split()] for path in tmp_path.iterdir()]

    clock.waits_for(lambda: len(begun()) == 2)
    jobs = [probe.Job("hang", fork_and, lambda: time.sleep(600)), probe.Job("fine", fork_and, lambda: None)]
    probe.gather(jobs, 1.0)
    assert len(begun()) == 2
    for child, grandchild in begun():
        wait_for(lambda pid=grandchild: not is_running(pid))
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def test_children_end_with_a_killed_probe(tmp_path: Path):
    code = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1]); import probe\n"
        "def hang():\n    open(sys.argv[2], 'w').write(str(os.getpid())); time.sleep(600)\n"
        "probe.gather([probe.Job('x', hang)], 500)\n"
    )
    told = tmp_path / "pid"
    running = subprocess.Popen([sys.executable, "-c", code, str(PROBE.parent), str(told)])
    try:
        wait_for(lambda: said(told))
    finally:
        running.kill()
        running.wait()
    wait_for(lambda: not is_running(told.read_text()))


def test_a_child_whose_probe_is_gone_already_does_not_begin():
    """It was killed before the kernel could be asked to tell of its end."""
    child = os.fork()
    if child == 0:
        try:
            probe._die_with(os.getpid())  # itself, and not its parent
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 70


def test_further_questions_may_follow_from_an_answer():
    def follow(key, answer):
        return [probe.Job((key, number), pow, number, 2) for number in answer.value] if key == "first" else []

    answers = probe.gather([probe.Job("first", lambda: [2, 3])], 20.0, follow)
    assert {key: answer.value for key, answer in answers.items()} == {
        "first": [2, 3],
        ("first", 2): 4,
        ("first", 3): 9,
    }


# Sections


@pytest.fixture
def tree(tmp_path: Path):
    """Files of a made-up machine by their paths; hands on its root."""

    def write(**files: str) -> str:
        for path, text in files.items():
            place = tmp_path / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return str(tmp_path)

    return write


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)


def test_the_smallest_limit_up_to_the_root_counts_v2(tree):
    top = "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7"
    root = tree(
        **{
            "/proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_7/step_0\n",
            "/proc/self/mountinfo": V2,
            f"{top}/memory.max": "8000000000\n",
            f"{top}/memory.current": "5000000000\n",
            f"{top}/cpu.max": "400000 100000\n",
            f"{top}/step_0/memory.max": "9000000000\n",
            f"{top}/step_0/memory.current": "1000000000\n",
            "/sys/fs/cgroup/system.slice/memory.max": "64000000000\n",
            "/sys/fs/cgroup/system.slice/memory.current": "6000000000\n",
            f"{top}/step_0/cpu.max": "max 100000\n",
            "/proc/meminfo": "MemTotal:  1000000 kB\nMemAvailable: 500000 kB\nSwapTotal: 0 kB\n",
        }
    )
    memory = probe.memory(root)
    assert (memory["limit_mb"], memory["used_mb"], memory["cgroup"]) == (8000, 5000, "v2")
    assert (memory["total_mb"], memory["available_mb"], memory["swap_mb"]) == (1024, 512, 0)
    assert probe.cpu(root)["quota"] == 4.0


def test_the_smallest_limit_up_to_the_root_counts_v1(tree):
    memory, cpu = "/sys/fs/cgroup/memory/slurm/uid_1", "/sys/fs/cgroup/cpu,cpuacct/slurm"
    root = tree(
        **{
            "/proc/self/cgroup": "5:memory:/slurm/uid_1/job_7\n4:cpu,cpuacct:/slurm\n0::/\n",
            "/proc/self/mountinfo": V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
            f"{memory}/memory.limit_in_bytes": "9223372036854771712\n",
            f"{memory}/memory.usage_in_bytes": "7\n",
            f"{memory}/job_7/memory.limit_in_bytes": "2000000000\n",
            f"{memory}/job_7/memory.usage_in_bytes": "300000000\n",
            f"{cpu}/cpu.cfs_quota_us": "150000\n",
            f"{cpu}/cpu.cfs_period_us": "100000\n",
        }
    )
    told = probe.memory(root)
    assert (told["limit_mb"], told["used_mb"], told["cgroup"]) == (2000, 300, "v1")
    assert probe.cpu(root)["quota"] == 1.5
    (Path(root) / f"{memory[1:]}/job_7/memory.limit_in_bytes").write_text("9223372036854771712\n")
    told = probe.memory(root)
    assert (told["limit_mb"], told["used_mb"]) == (None, 300)


def test_no_limit_is_null_and_a_container_sees_its_own_part(tree):
    root = tree(
        **{
            "/proc/self/cgroup": "0::/docker/abc\n",
            "/proc/self/mountinfo": V2.replace(" / /sys", " /docker/abc /sys"),
            "/sys/fs/cgroup/memory.max": "max\n",
            "/sys/fs/cgroup/memory.current": "1000000\n",
            "/sys/fs/cgroup/cpu.max": "max 100000\n",
        }
    )
    memory = probe.memory(root)
    assert (memory["limit_mb"], memory["used_mb"]) == (None, 1)
    assert probe.cpu(root)["quota"] is None


def test_this_machines_own_limits_are_those_the_kernel_keeps():
    import resource

    told = probe.limits("")
    for name, number in (
        ("nofile", resource.RLIMIT_NOFILE),
        ("core", resource.RLIMIT_CORE),
        ("as", resource.RLIMIT_AS),
    ):
        assert told[name] == list(resource.getrlimit(number))
    assert set(told) == {"nofile", "memlock", "nproc", "stack", "core", "as"}


NVRM = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build\nGCC version: 12\n"
INFORMATION = (
    "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 120\n"
    "GPU UUID: \t GPU-0e1f2a3b-1111-2222-3333-444455556666\n"
    "Bus Type: \t PCIe\nBus Location: \t 0000:17:00.0\nDevice Minor: \t 0\nGPU Excluded:\t No\n"
)
KMSG = (
    "6,100,5000,-;usb 1-1: new device\n"
    "3,101,6000,-;NVRM: Xid (PCI:0000:17:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off\n"
    " SUBSYSTEM=pci\n"
)


def test_a_driver_is_told_with_its_gpus_nodes_and_xids(tree):
    root = tree(
        **{
            "/proc/driver/nvidia/version": NVRM,
            "/proc/driver/nvidia/gpus/0000:17:00.0/information": INFORMATION,
            "/proc/modules": "nvidia_uvm 1 0 - Live 0x0\nnvidia 2 1 nvidia_uvm,\next4 1 1 -\n",
            "/dev/nvidiactl": "",
            "/dev/nvidia-caps/nvidia-cap1": "",
            "/dev/dri/renderD128": "",
            "/dev/dri/by-path": "",
            "/dev/kmsg": KMSG,
        }
    )
    driver = probe.collect(only=("driver",), root=root, timeout_s=20.0)["driver"]
    assert driver["version"] == "570.124.06"
    assert driver["text"].startswith("NVRM version: NVIDIA UNIX Open")
    assert driver["modules"] == ["nvidia_uvm", "nvidia"]
    assert driver["gpus"] == [
        {
            "pci": "0000:17:00.0",
            "model": "NVIDIA H100 80GB HBM3",
            "uuid": "GPU-0e1f2a3b-1111-2222-3333-444455556666",
            "minor": 0,
        }
    ]
    assert [(node["path"], node["errno"]) for node in driver["nodes"]] == [
        ("/dev/dri/renderD128", 0),
        ("/dev/nvidia-caps/nvidia-cap1", 0),
        ("/dev/nvidia-modeset", 2),
        ("/dev/nvidia-uvm", 2),
        ("/dev/nvidia0", 2),
        ("/dev/nvidiactl", 0),
    ]
    assert driver["xids"] == [KMSG.splitlines()[1].partition(";")[2]]  # no time, no level before it
    assert driver["nodes"][2]["error"] == "No such file or directory"


def test_a_node_that_cannot_be_opened_has_its_errno_mode_and_owner(tmp_path: Path):
    path = tmp_path / "nvidia0"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(195, 0))
    except PermissionError:
        pytest.skip("making a device node needs root")
    os.chmod(path, 0o640)
    fact = probe.node("/dev/nvidia0", str(path))
    assert (fact["path"], fact["mode"]) == ("/dev/nvidia0", "crw-r-----")
    assert fact["owner"].startswith("root:")
    assert fact["errno"] in (1, 6)  # no driver behind it, or the file system is mounted without devices
    assert fact["error"]


def test_a_node_of_somebody_else_is_denied(tmp_path: Path, monkeypatch):
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    os.chmod(tmp_path, 0o755)
    path = tmp_path / "renderD128"
    path.touch()
    path.chmod(0o660)

    (tmp_path / "nvidia-cap1").touch()
    (tmp_path / "nvidia-cap1").chmod(0o444)

    def as_nobody() -> list:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        nodes = ("/dev/dri/renderD128", "/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia0")
        return [probe.node(nodes[0], "renderD128"), *(probe.node(path, "nvidia-cap1") for path in nodes[1:])]

    monkeypatch.chdir(tmp_path)
    card, slice_of_it, other = probe.gather([probe.Job("node", as_nobody)], 20.0)["node"].fact()
    assert (card["errno"], card["mode"], card["owner"]) == (13, "-rw-rw----", "root:root")
    assert (slice_of_it["errno"], other["errno"]) == (0, 13)  # a capability is opened to be read only


def test_no_driver_is_null_and_an_unreadable_log_too(tree):
    driver = probe.collect(only=("driver",), root=tree(**{"/proc/modules": ""}), timeout_s=20.0)["driver"]
    assert (driver["version"], driver["text"], driver["gpus"], driver["nodes"]) == (None, None, [], [])
    assert driver["xids"] is None


def test_ports_and_interfaces(tree):
    port = "/sys/class/infiniband/mlx5_0/ports/1"
    root = tree(
        **{
            f"{port}/state": "4: ACTIVE\n",
            f"{port}/rate": "400 Gb/sec (4X NDR)\n",
            f"{port}/link_layer": "InfiniBand\n",
            "/sys/class/net/ib0/flags": "0x1043\n",
            "/sys/class/net/ib0/operstate": "up\n",
            "/sys/class/net/ib0/mtu": "2044\n",
            "/sys/class/net/ib0/speed": "400000\n",
            "/sys/class/net/eth9/flags": "0x1002\n",
            "/sys/class/net/eth9/operstate": "down\n",
            "/proc/net/if_inet6": "fd000000000000000000000000000002 03 40 00 80 ib0\n",
        }
    )
    network = probe.network(root)
    assert network["infiniband"] == [
        {
            "device": "mlx5_0",
            "port": 1,
            "state": "ACTIVE",
            "rate": "400 Gb/sec (4X NDR)",
            "link": "InfiniBand",
        }
    ]
    assert network["interfaces"] == [
        {"name": "eth9", "up": False, "addresses": [], "mtu": None, "speed_mb_s": None},
        {"name": "ib0", "up": True, "addresses": ["fd00::2"], "mtu": 2044, "speed_mb_s": 50000.0},
    ]


def test_the_loopback_of_this_machine_has_its_address():
    interfaces = {entry["name"]: entry for entry in probe.network("")["interfaces"]}
    assert "127.0.0.1" in interfaces["lo"]["addresses"]
    assert interfaces["lo"]["up"]


def test_a_disk_is_measured_and_left_clean(tmp_path: Path):
    (fact,) = [told for told in probe.disk("run folder", str(tmp_path / "not" / "yet"))][-1:]
    assert fact["path"] == str(tmp_path / "not" / "yet")
    assert fact["writable"]
    assert fact["write_mb_s"] > 0
    assert fact["sync_ms"] >= 0
    assert fact["free_mb"] > 0
    assert fact["type"]
    assert list(tmp_path.iterdir()) == []


def test_two_probes_of_one_number_do_not_disturb_each_other(tmp_path: Path, monkeypatch):
    """On nodes, or in containers, that share the folder and look at it at the same time."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    remove, others = os.unlink, []

    def look_meanwhile(path) -> None:
        if not others:
            others.append(None)
            others.extend(probe.disk("run folder", str(tmp_path)))
        remove(path)

    monkeypatch.setattr(os, "unlink", look_meanwhile)
    *_, fact = probe.disk("run folder", str(tmp_path))
    assert [(told["error"], told["writable"]) for told in (fact, others[-1])] == [("", True)] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_probe_that_stood_still_has_measured_something(tmp_path: Path, monkeypatch):
    """As processes do for a moment where more of them run than there are cores."""
    times = iter([0.0, 0.06, 0.06, 0.06])
    monkeypatch.setattr(probe, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    fact = {}
    probe._try_to_write(str(tmp_path), fact, limit=4 << 20)
    assert fact["write_mb_s"] > 10


def test_a_folder_that_cannot_be_looked_at_is_not_taken_for_one_that_is_not_there(tmp_path: Path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    *_, fact = probe.disk("run folder", str(tmp_path / "loop" / "runs"))
    assert (fact["error"], fact["writable"]) == ("Too many levels of symbolic links", False)


def test_cards_without_a_driver_are_seen_on_the_bus(tmp_path: Path):
    for bus, vendor, kind in (
        ("0000:00:02.0", "0x8086", "0x030000"),
        ("0000:17:00.0", "0x10de", "0x030200"),
        ("0000:17:00.1", "0x10de", "0x040300"),
        ("0000:65:00.0", "0x10de", "0x030000"),
    ):
        folder = tmp_path / "sys/bus/pci/devices" / bus
        folder.mkdir(parents=True)
        for name, text in (("vendor", vendor), ("class", kind), ("device", "0x2330")):
            (folder / name).write_text(f"{text}\n")
    (folder / "driver").symlink_to("../../../drivers/nouveau")
    assert probe.cards_on_bus(str(tmp_path)) == [
        {"pci": "0000:17:00.0", "device": "0x2330", "driver": None},
        {"pci": "0000:65:00.0", "device": "0x2330", "driver": "nouveau"},
    ]


def test_a_place_that_takes_no_file_says_why():
    *_, fact = probe.disk("home", "/proc/1")
    assert (fact["type"], fact["writable"], fact["write_mb_s"]) == ("proc", False, None)
    assert fact["error"]


def test_a_full_disk_says_so(tmp_path: Path):
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True)
    if made.returncode:
        pytest.skip("mounting needs root")
    try:
        (place / "filler").write_bytes(bytes(60 * 1024))
        *_, fact = probe.disk("run folder", str(place))
        assert list(place.iterdir()) == [place / "filler"]
    finally:
        subprocess.run(["umount", place], check=True)
    assert (fact["type"], fact["writable"], fact["error"]) == ("tmpfs", False, "No space left on device")


def test_secrets_are_not_written_down(monkeypatch):
    for name in ("APPTAINER_DOCKER_PASSWORD", "SLURM_JWT", "APPTAINERENV_WANDB_API_KEY", "MS_TOKEN"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("APPTAINERENV_VK_DRIVER_FILES", "/a.json")
    monkeypatch.setenv("APPTAINERENV_EDITOR", "canary")
    monkeypatch.setenv("VK_DRIVER_FILES", "/b.json")
    told = probe.variables()
    assert (told["VK_DRIVER_FILES"], told["APPTAINERENV_VK_DRIVER_FILES"]) == ("/b.json", "/a.json")
    assert "canary" not in told.values()


def test_packages_are_known_without_importing_them(tmp_path: Path, monkeypatch):
    for name in (
        "torch-2.8.0+cu128.dist-info",
        "stair_vla-0.1.0.dist-info",
        "mani_skill-3.0.1.dist-info",
        "x.py",
    ):
        (tmp_path / name).mkdir()
    (tmp_path / "torch.py").write_text("raise SystemExit('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    told = probe.python()["packages"]
    assert (told["torch"], told["stair"], told["mani_skill"]) == ("2.8.0+cu128", "0.1.0", "3.0.1")
    assert told["sapien"] is None


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_apptainer_and_slurm_say_their_versions_and_failures(tmp_path: Path, monkeypatch):
    programs = tmp_path / "usr" / "bin"
    starter = tmp_path / "usr" / "libexec" / "apptainer" / "bin"
    names = tmp_path / "etc" / "apptainer"
    for folder in (programs, starter, names):
        folder.mkdir(parents=True)
    (names / "nvliblist.conf").write_text("# put libraries here\nlibcuda.so\n\nlibGLX_nvidia.so # GLX\n")
    program(programs, "apptainer", "echo apptainer version 1.4.5")
    program(programs, "sbatch", "echo 'no slurmctld' >&2; exit 1")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("APPTAINER", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "8")
    sheet = probe.collect(only=("apptainer", "slurm"), timeout_s=20.0)
    fact = sheet["apptainer"]
    assert (fact["found"], fact["path"], fact["version"], fact["code"], fact["error"]) == (
        True,
        str(programs / "apptainer"),
        "1.4.5",
        0,
        "",
    )
    assert (fact["setuid"], fact["nvliblist"]) == (False, ["libcuda.so", "libGLX_nvidia.so"])
    assert sheet["slurm"]["error"] == "no slurmctld"
    assert (sheet["slurm"]["version"], sheet["slurm"]["code"]) == (None, 1)
    assert sheet["slurm"]["job"]["cpus"] == "8"


def test_a_controller_that_is_down_is_told_outside_of_jobs(tmp_path: Path, monkeypatch):
    program(tmp_path, "sbatch", "echo slurm-wlm 22.05.8")
    program(tmp_path, "sinfo", "echo 'Unable to contact' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    slurm = probe.collect(only=("slurm",), timeout_s=20.0)["slurm"]
    assert (slurm["version"], slurm["code"], slurm["error"]) == ("22.05.8", 1, "Unable to contact")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    slurm = probe.collect(only=("slurm",), timeout_s=20.0)["slurm"]
    assert (slurm["version"], slurm["code"], slurm["error"]) == ("22.05.8", 0, "")


def test_a_program_that_hangs_is_a_fact(tmp_path: Path, monkeypatch):
    program(tmp_path, "sbatch", "exec /bin/sleep 600")
    monkeypatch.setenv("PATH", str(tmp_path))
    slurm = probe.collect(only=("slurm",), timeout_s=4.0)["slurm"]
    assert (slurm["found"], slurm["error"], slurm["version"]) == (True, "timeout", None)
