"""What the development cluster decides, and a small real one (a node, no accounting) where root may."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stair.errors import StairError, UsageError
from tools.devslurm import accounts, apptainer, cli, install, life, look, network, record, texts
from tools.devslurm.daemons import bare_environment, daemons, environment
from tools.devslurm.shape import HEAD, SLOTS, Cluster, Shape
from tools.devslurm.system import CannotHere, processes, read_pid, run, wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "devcluster"
PATIENCE_S = 180.0
"""The machine may be busy, and a node that was lost comes back at Slurm's next look."""


def a_cluster(slot: int = 300, **shape) -> Cluster:
    return Cluster(Path("/root-folder"), slot, Shape(**shape))


def settings(cluster: Cluster) -> dict[str, str]:
    """The lines of slurm.conf that set one thing."""
    lines = [line for line in texts.slurm_conf(cluster).splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_no_two_slots_share_a_name_or_an_address():
    clusters = [a_cluster(slot, nodes=3) for slot in range(SLOTS)]
    interfaces = [c.cable(place) for c in clusters for place in c.places] + [c.bridge for c in clusters]
    assert len(set(interfaces)) == len(interfaces) == SLOTS * 5
    assert len(a_cluster(SLOTS - 1, nodes=64).cable("n64")) <= 15  # the kernel's limit
    addresses = [address for c in clusters for address in (c.head, c.host, *(n.address for n in c.nodes))]
    assert len(set(addresses)) == len(addresses)
    assert all(address.startswith(("198.18.", "198.19.")) for address in addresses)


def test_everything_slurm_writes_lies_under_the_root_folder():
    for text in texts.files(a_cluster(), "machine").values():
        values = [line.split("=", 1)[1] for line in text.splitlines() if "=" in line and line[0] != "#"]
        paths = [path for path in values if path.startswith("/") and path != "/bin/true"]
        assert all(path.startswith("/root-folder/") for path in paths)
    assert len([value for value in settings(a_cluster()).values() if "/root-folder/" in value]) >= 7


def test_the_second_half_of_the_nodes_differs():
    first, last = a_cluster(nodes=5).nodes[0], a_cluster(nodes=5).nodes[4]
    assert (first.gpu, first.gpus, first.memory_mb) == ("h100", 8, 8000)
    assert (last.gpu, last.gpus, last.memory_mb) == ("a100", 4, 16000)
    assert [node.gpu for node in a_cluster(nodes=5).nodes].count("h100") == 3


def test_gpus_are_device_files_of_each_node():
    assert texts.gres_conf(a_cluster(nodes=2, gpus=2)).splitlines() == [
        "NodeName=n1 Name=gpu Type=h100 File=/root-folder/dev/fakegpu[0-1]",
        "NodeName=n2 Name=gpu Type=a100 File=/root-folder/dev/fakegpu0",
    ]
    assert texts.gres_conf(a_cluster(gpus=0)) == ""
    assert "Gres=" not in texts.slurm_conf(a_cluster(gpus=0))


def test_accounting_decides_who_decides_about_preemption():
    on, off = settings(a_cluster()), settings(a_cluster(accounting=False))
    assert (on["PreemptType"], on["PreemptMode"]) == ("preempt/qos", "REQUEUE")
    assert (off["PreemptType"], off["PreemptMode"]) == ("preempt/partition_prio", "REQUEUE")
    assert on["AccountingStorageType"] == "accounting_storage/slurmdbd"
    assert off["AccountingStorageType"] == "accounting_storage/none"
    assert "slurmdbd.conf" not in texts.files(a_cluster(accounting=False), "machine")


@pytest.mark.parametrize(("mode", "expected"), [("cancel", "CANCEL"), ("requeue", "REQUEUE"), ("off", "OFF")])
def test_preemption_follows_the_wish(mode, expected):
    cluster = a_cluster(preempt_mode=mode)
    assert settings(cluster)["PreemptMode"] == expected
    victims = [words for words in accounts.commands(cluster) if words[:3] == ("modify", "qos", "high")]
    assert ("preempt=" in victims[0]) == (mode == "off")


def test_the_machine_itself_is_known_inside_unless_it_bears_the_name_of_a_node():
    assert "198.19.44.254 machine" in texts.hosts(a_cluster(), "machine")
    assert texts.hosts(a_cluster(), "n1").count("n1") == 1


def test_files_agree_on_where_slurmdbd_is():
    cluster = a_cluster()
    dbd = dict(line.split("=", 1) for line in texts.slurmdbd_conf(cluster).splitlines())
    assert dbd["DbdAddr"] == settings(cluster)["AccountingStorageHost"] == cluster.head
    assert dbd["DbdHost"] == HEAD


@pytest.mark.parametrize(
    "wrong", [{"nodes": 0}, {"nodes": 65}, {"gpus": -1}, {"max_array": 0}, {"hold_s": 1}]
)
def test_a_number_out_of_range_is_refused_with_the_range(wrong):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))} is"):
        Shape(**wrong).check()


@pytest.mark.parametrize("name", ["with blank", "with#hash", "x" * 90])
def test_a_root_folder_that_slurm_cannot_hold_is_refused(name):
    with pytest.raises(UsageError):
        record.check_root(Path("/") / name)


def test_a_folder_with_other_things_never_becomes_a_root_folder(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds other things"):
        record.check_root(tmp_path)


def test_a_cluster_is_read_as_it_was_written_also_with_settings_of_another_version(tmp_path: Path):
    cluster = Cluster(tmp_path, 7, Shape(nodes=3, accounting=False, preempt_mode="cancel"))
    record.write_cluster(cluster)
    assert record.read_cluster(tmp_path) == cluster
    kept = json.loads(cluster.record.read_text())
    kept["shape"]["of a later version"] = 1
    cluster.record.write_text(json.dumps(kept))
    assert record.read_cluster(tmp_path) == cluster
    cluster.record.write_text("[]")
    with pytest.raises(StairError, match="not what `up` writes"):
        record.read_cluster(tmp_path)


def test_the_cluster_of_the_shell_is_meant_where_no_root_is_given(tmp_path: Path, monkeypatch):
    record.write_cluster(Cluster(tmp_path, 7))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "etc/slurm.conf"))
    assert record.choose_root(None) == tmp_path
    assert record.choose_root("/elsewhere") == Path("/elsewhere")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    assert record.choose_root(None) == record.DEFAULT_ROOT.expanduser()


def test_nothing_of_another_cluster_reaches_daemons_and_commands(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_CONF", "SBATCH_PARTITION", "SLURMD_NODENAME"):
        monkeypatch.setenv(name, "another's")
    assert "another's" not in environment(a_cluster()).values()
    monkeypatch.setenv("WANDB_API_KEY", "another's")
    assert "another's" not in bare_environment(a_cluster()).values()
    assert environment(a_cluster())["SLURM_CONF"] == "/root-folder/etc/slurm.conf"


def test_up_without_options_keeps_the_shape_and_with_some_changes_those():
    old = Shape(nodes=2, accounting=False)
    options = cli._parser().parse_args(["up"])
    assert cli.wished(old, options) == old
    options = cli._parser().parse_args(["up", "--accounting", "on", "--user-signal", "off", "--gpus", "1"])
    assert cli.wished(old, options) == Shape(nodes=2, gpus=1, user_signal=False)


def test_the_mirror_is_the_one_that_apt_uses():
    lines = "http://other.test/cloud Other\nhttp://mirror.test/debian-security/ Debian\n"
    assert apptainer.mirror(lines + "http://mirror.test/debian/ Debian\n") == "http://mirror.test/debian/"
    with pytest.raises(CannotHere, match="no Debian mirror"):
        apptainer.mirror(lines)


@pytest.mark.parametrize(("text", "is_it"), [("ID=debian\n", True), ("ID=ubuntu\nID_LIKE=debian\n", False)])
def test_only_debian_counts_as_debian(tmp_path: Path, text: str, is_it: bool):
    (tmp_path / "os-release").write_text(text)
    assert install.is_debian(tmp_path / "os-release") == is_it


def test_a_stale_pid_file_is_nobody(tmp_path: Path):
    file = tmp_path / "x.pid"
    assert read_pid(file, "slurmd") is None
    file.write_text(str(os.getpid()))  # alive, but somebody else
    assert read_pid(file, "slurmd") is None
    mine = next(process for process in processes() if process.pid == os.getpid())
    assert read_pid(file, mine.name) == os.getpid()


def test_a_zombie_is_dead(tmp_path: Path):
    child = subprocess.Popen(["true"])
    try:
        assert wait_until(lambda: child.pid not in {process.pid for process in processes()}, PATIENCE_S)
        assert Path(f"/proc/{child.pid}").exists()
    finally:
        child.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else: run as root")
@pytest.mark.parametrize("words", [["up"], ["down"], ["install"], ["cut", "n1"]])
def test_without_root_there_is_one_clear_sentence(words: list[str], tmp_path: Path):
    if words == ["install"] and not install.is_debian(Path("/etc/os-release")):
        pytest.skip("not Debian")
    # Everything is loaded before root is given up, since others may not be allowed to read the checkout.
    code = f"""
import os, sys
sys.path.insert(0, {str(SCRIPT.parents[1])!r})
from stair.console import run_command
from tools.devslurm.cli import main
os.setuid(65534)
sys.exit(run_command(lambda: main({[*words, "--root", "/r"]!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "root" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_help_needs_nothing_but_python(tmp_path: Path):
    said = run(["/usr/bin/env", "python3", "-S", str(SCRIPT), "--help"], cwd=tmp_path)
    for word in ("install", "up", "down", "status", "kick", "cut", "mend"):
        assert word in said


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, no accounting: up in a second."""
    try:
        life.require(accounting=False)
    except CannotHere as missing:
        pytest.skip(f"no Slurm here: {missing.what}; {missing.hint}")
    root = tmp_path_factory.mktemp("small") / "c"
    try:
        yield life.up(root, Shape(nodes=1, gpus=1, accounting=False))
    finally:
        if (root / "cluster.json").exists():
            life.down(root, purge=True)


def works(cluster: Cluster) -> bool:
    said = run(["srun", "--time=1", "hostname"], env=environment(cluster), timeout_s=PATIENCE_S)
    # A node that was lost a moment ago takes its time.
    return said.splitlines()[-1] == "n1" and wait_until(lambda: look.status(cluster).well, PATIENCE_S, 0.5)


def test_up_again_leaves_what_lives_alone(small: Cluster):
    before = look.status(small).daemons
    life.up(small.root, small.shape)
    assert look.status(small).daemons == before
    assert works(small)


def test_nothing_listens_on_the_machine_itself(small: Cluster):
    def listening(*enter: str) -> set[str]:
        return {line.split()[3] for line in run([*enter, "ss", "-Hltn"]).splitlines()}

    inside = network.enter(small, HEAD, [])
    assert any(address.endswith(":6817") for address in listening(*inside))
    mine = {daemon.pid for daemon in daemons(small)}
    outside = run(["ss", "-Hltnp"])
    assert not any(f"pid={pid}," in outside for pid in mine)


def test_another_shape_is_refused_while_the_cluster_runs(small: Cluster):
    with pytest.raises(UsageError, match="runs with another gpus"):
        life.up(small.root, Shape(nodes=1, gpus=2, accounting=False))


def test_killed_daemons_and_a_stale_pid_do_not_block_up(small: Cluster):
    for daemon in daemons(small):
        assert daemon.pid
        os.kill(daemon.pid, signal.SIGKILL)
        assert wait_until(lambda daemon=daemon: not daemon.pid, PATIENCE_S)
        daemon.pid_file.write_text(str(os.getpid()))
    life.up(small.root, small.shape)
    assert works(small)


def test_lost_namespaces_do_not_block_up(small: Cluster):
    run(["ip", "netns", "delete", small.namespace("n1")])
    run(["ip", "link", "delete", small.bridge])
    old = {daemon.pid for daemon in daemons(small)}
    life.up(small.root, small.shape)
    assert works(small)
    assert not old & {process.pid for process in processes()}  # nobody is left in the lost ones


def test_two_clusters_do_not_meet(small: Cluster, tmp_path: Path):
    other = life.up(tmp_path / "d", Shape(nodes=1, gpus=0, accounting=False))
    try:
        assert other.slot != small.slot
        assert works(other)
        assert works(small)
    finally:
        life.down(other.root, purge=True)
    assert not other.root.exists()
    assert works(small)


def test_down_ends_jobs_and_removes_the_network_and_the_next_up_knows_the_job(small: Cluster):
    said = run(["sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 1000"], env=environment(small))
    job = said.strip()

    def runs() -> bool:
        return any(process.argv == ("sleep", "1000") for process in network.members(small))

    assert wait_until(runs, PATIENCE_S)
    networks = {network.namespace_of(small, place) for place in small.places}
    assert life.down(small.root) > 0
    assert not networks & {process.network for process in processes()}
    assert not network.members(small)
    assert not list(network.NAMESPACES.glob(f"{small.tag}-*"))
    assert not Path("/sys/class/net", small.bridge).exists()
    assert not look.status(small).well

    life.up(small.root, small.shape)
    assert look.ask_job(small, job)[0] in ("RUNNING", "COMPLETING", "PENDING")


def test_a_cluster_whose_folder_was_removed_is_ended_by_the_next_up(small: Cluster, tmp_path: Path):
    lost = life.up(tmp_path / "lost", Shape(nodes=1, gpus=0, accounting=False))
    shutil.rmtree(lost.root)
    assert network.members(lost)
    life.up(small.root, small.shape)
    assert not network.members(lost)
    assert not Path("/sys/class/net", lost.bridge).exists()
