"""Real faults in the real evaluation image: each gets the right name, and its cure, carried out, helps.

One container is started for all that can be done inside it; every fault has a shell of its own there, which
breaks something, is looked at by the probe, does what the finding says, and is looked at again. With
STAIR_KEEP_SHEETS=FOLDER the facts of each fault are written there, for tests/doctor/sheets.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from containers.order import ENVIRONMENTS, lock_digest
from stair.cluster.image import inspect_image
from stair.doctor import probe
from stair.doctor.checks import because, diagnose
from stair.doctor.finding import Diagnosis, Finding, fold
from stair.doctor.summary import summarize
from stair.doctor.visit import Visit
from tests.containers.eval_image import EvalImage, eval_image  # noqa: F401
from tests.doctor import sheets

LVP = "/opt/stair/icd/lvp_icd.json"
SECTIONS = "image,system,python,variables,driver,libraries,vulkan,egl,shm"
DRIVER = """
#include <unistd.h>
typedef void (*Function)(void);
int vk_icdNegotiateLoaderICDInterfaceVersion(unsigned *version) { ACT; return 0; }
Function vk_icdGetInstanceProcAddr(void *instance, const char *name) { ACT; return 0; }
"""
"""A Vulkan driver in C that does something else when the loader greets it."""
LACKING = """
#include <dlfcn.h>
typedef void (*Function)(void);
int absent(void);
static void *real(const char *name) { return dlsym(dlopen("libvulkan_lvp.so", RTLD_NOW), name); }
int vk_icdNegotiateLoaderICDInterfaceVersion(unsigned *version) {
    int (*function)(unsigned *) = real("vk_icdNegotiateLoaderICDInterfaceVersion");
    return absent() ? function(version) : 0;
}
Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    Function (*function)(void *, const char *) = real("vk_icdGetInstanceProcAddr");
    return function(instance, name);
}
Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    Function (*function)(void *, const char *) = real("vk_icdGetPhysicalDeviceProcAddr");
    return function(instance, name);
}
"""
"""A driver that is Mesa's, but linked against one library more."""
MACHINE = """
mkdir -p {tree}/dev {tree}/proc/driver/nvidia; cd {tree}
echo 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.124.06' > proc/driver/nvidia/version
printf '%s 1 0\\n' nvidia nvidia_uvm nvidia_modeset > proc/modules
for name in nvidia0 nvidiactl nvidia-uvm nvidia-modeset; do
    # a plain file where this user may make no device files: opening it is refused alike
    mknod dev/$name c 1 3 || : > dev/$name
    chmod 666 dev/$name
done
chmod 000 dev/nvidia0
"""
"""A machine with a driver and one GPU that nobody may open, as a tree for the probe."""


def icd(library: str, api_version: str = "1.3.0") -> str:
    """Shell words that write a driver file and make every loader read it alone."""
    inside = {"ICD": {"library_path": library, "api_version": api_version}, "file_format_version": "1.0.1"}
    return f"echo '{json.dumps(inside)}' > icd.json; {name_it('$PWD/icd.json')}"


def name_it(path: str) -> str:
    return f"export VK_DRIVER_FILES={path} VK_ICD_FILENAMES={path}"


@dataclass(frozen=True)
class Fault:
    """A way to break a container, and the first cause that is to be found."""

    name: str
    breaks: str
    """Shell words."""
    id: str
    says: str
    """Words of its cure."""
    does: str = ""
    """Shell words that do what the cure says; empty: the finding's own command does."""
    level: str = "error"
    engine: str = ""
    """The environment that alone needs what is broken: only a warning in an image without it."""


FAULTS = (
    Fault("icd-missing", name_it("/nonexist.json"), "vulkan.icd-missing", "name a file that is there"),
    Fault("icd-empty", f": > icd.json; {name_it('$PWD/icd.json')}", "vulkan.icd-empty", "remove it"),
    Fault(
        "icd-malformed",
        f"head -c 40 {LVP} > icd.json; {name_it('$PWD/icd.json')}",
        "vulkan.icd-broken",
        "write it again",
    ),
    Fault(
        "icd-no-api-version",
        f"grep -v api_version {LVP} > icd.json; {name_it('$PWD/icd.json')}",
        "vulkan.icd-no-api-version",
        'add "api_version"',
    ),
    Fault(
        "icd-too-old",
        icd("libvulkan_lvp.so", "1.0.5"),
        "vulkan.icd-api-version",
        'write "api_version": "1.3.0"',
    ),
    Fault(
        "icd-unreadable",
        f"cp {LVP} icd.json; chmod 0 icd.json; {name_it('$PWD/icd.json')}",
        "vulkan.icd-unreadable",
        "readable",
    ),
    Fault("icd-of-nothing", icd("/nonexist/libvulkan_x.so"), "vulkan.icd-library", "name another file"),
    Fault("icd-of-nvidia", icd("libGLX_nvidia.so.0"), "vulkan.icd-library", "--nv"),
    Fault("icd-is-the-loader", icd("libvulkan.so.1"), "vulkan.icd-is-loader", "name another file"),
    Fault(
        "icd-lacks-a-library",
        icd("/faults/lacking.so"),
        "vulkan.icd-dependency",
        "install what has libabsent.so.1",
        does="export LD_LIBRARY_PATH=/faults/installed",
    ),
    Fault("icd-hangs", icd("/faults/hanging.so"), "vulkan.icd-hangs", "name another file"),
    Fault("icd-crashes", icd("/faults/crashing.so"), "vulkan.icd-crashes", "name another file"),
    Fault("icd-32-bit", icd("/faults/32bit.so"), "vulkan.icd-architecture", "for this machine"),
    Fault("icd-of-another-machine", icd("/faults/arm64.so"), "vulkan.icd-library", "for another machine"),
    Fault("no-icd", "mkdir none; " + name_it("$PWD/none"), "vulkan.no-icd", "name one that is there"),
    Fault(
        "variables-contradict",
        f"export VK_DRIVER_FILES=/nonexist.json VK_ICD_FILENAMES={LVP}",
        "vulkan.variables",
        "set both to the same value",
    ),
    Fault(
        "filtered",
        "export VK_LOADER_DRIVERS_DISABLE='*'",
        "vulkan.filters",
        "unset them",
    ),
    Fault(
        "no-loader",
        "loader=$(readlink -f /usr/lib/*/libvulkan.so.1); mv $loader $loader.away; trap '[ ! -e "
        "$loader.away ] || mv $loader.away $loader' EXIT",
        "vulkan.loader",
        "install libvulkan1",
        does="mv $loader.away $loader",
    ),
    Fault(
        "loader-hidden-by-another",
        ": > libvulkan.so.1; export LD_LIBRARY_PATH=$PWD",
        "vulkan.loader",
        "out of LD_LIBRARY_PATH",
    ),
    Fault(
        "no-x11",
        ": > libX11.so.6; export LD_LIBRARY_PATH=$PWD",
        "libraries.x11",
        "out of LD_LIBRARY_PATH",
    ),
    Fault(
        "no-gl",
        ": > libGL.so.1; export LD_LIBRARY_PATH=/.singularity.d/libs:$PWD",
        "libraries.gl",
        "out of LD_LIBRARY_PATH",
        engine="sapien2",
    ),
    Fault(
        "icd-of-absent-hardware",
        name_it("/usr/share/vulkan/icd.d/radeon_icd.json"),
        "vulkan.icd-no-device",
        "name another file",
    ),
    Fault("ray-tracing-disabled", "export SAPIEN_DISABLE_RAY_TRACING=1", "vulkan.no-ray-tracing", "unset it"),
    Fault("display-set", "export DISPLAY=:0", "vulkan.display", "unset it", level="warning"),
    Fault(
        "egl-vendor-broken",
        "echo '{' > egl.json; export __EGL_VENDOR_LIBRARY_FILENAMES=$PWD/egl.json",
        "egl.vendor-broken",
        "repair or remove",
        does="export __EGL_VENDOR_LIBRARY_FILENAMES=/opt/stair/icd/50_mesa.json",
        level="warning",
    ),
)


class Shell:
    """A shell in a container that is told line after line."""

    def __init__(self, image: EvalImage, faults: Path, *options: str) -> None:
        words = [str(image.apptainer), "exec", "--containall", "--cleanenv", "--writable-tmpfs", "--no-privs"]
        words += ["--add-caps", "CAP_MKNOD"] if os.geteuid() == 0 else []
        words += ["--bind", f"{faults}:/faults", *options, str(image.path), "bash", "-s"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def say(self, words: str) -> str:
        """What the words print."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{words}\necho; echo =done=\n")
        self._process.stdin.flush()
        said = []
        for line in self._process.stdout:
            if line == "=done=\n":
                return "".join(said)
            said.append(line)
        raise AssertionError("the container ended: " + "".join(said))

    def look(self, timeout_s: float = 20, root: str = "") -> dict[str, Any]:
        """A fact sheet, by the probe that is piped into the image's own Python."""
        options = f"--timeout {timeout_s} --only {'driver' if root else SECTIONS} --root '{root}'"
        said = self.say(f"python3 - {options} < /faults/probe.py")
        return json.loads(said[said.index("{") :])

    def close(self) -> None:
        self._process.communicate("exit\nexit\n", timeout=120)


@pytest.fixture(scope="module")
def faults(tmp_path_factory) -> Path:
    """Libraries that do harm, and the probe."""
    if not shutil.which("gcc"):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("faults")
    shutil.copy(probe.__file__, folder / "probe.py")
    (folder / "installed").mkdir()
    compile_(folder / "installed" / "libabsent.so.1", "int absent(void) { return 1; }")
    compile_(folder / "lacking.so", LACKING, str(folder / "installed" / "libabsent.so.1"))
    compile_(folder / "hanging.so", DRIVER.replace("ACT", "sleep(600)"))
    compile_(folder / "crashing.so", DRIVER.replace("ACT", "*(volatile int *)0 = 1"))
    whole = (folder / "hanging.so").read_bytes()
    (folder / "32bit.so").write_bytes(whole[:4] + b"\1" + whole[5:18] + b"\3\0" + whole[20:])
    (folder / "arm64.so").write_bytes(whole[:18] + b"\xb7\0" + whole[20:])
    return folder


def compile_(target: Path, code: str, *more: str) -> None:
    words = ["gcc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-x", "none", *more, "-o", str(target)]
    words += [f"-Wl,-soname,{target.name}"]
    subprocess.run(words, input=code, text=True, check=True)


@pytest.fixture(scope="module")
def container(eval_image: EvalImage, faults: Path) -> Iterator[Shell]:  # noqa: F811
    shell = Shell(eval_image, faults)
    yield shell
    shell.close()


def visit(sheet: dict[str, Any]) -> list[Visit]:
    return [Visit(name="here", role="here", host=None, image=sheet, image_file=None, request=None)]


def first(visits: list[Visit]) -> Diagnosis:
    found = fold(diagnose(visits), because())
    assert found, "nothing was found"
    return found[0]


def of(id: str, visits: list[Visit]) -> list[Finding]:
    return [finding for finding in diagnose(visits) if finding.id == id]


def keep(name: str, visit: dict[str, Any]) -> None:
    if folder := os.environ.get("STAIR_KEEP_SHEETS"):
        (Path(folder) / f"{name}.json").write_text(json.dumps(visit))


def test_a_healthy_image_draws_on_the_cpu_and_nothing_is_said(container: Shell):
    sheet = container.look()
    assert diagnose(visit(sheet)) == ()
    assert [device["type"] for device in sheet["vulkan"]["devices"]] == ["cpu"]
    assert "llvmpipe" in summarize(visit(sheet)[0])["Vulkan"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_fault_is_named_and_its_cure_helps(
    fault: Fault,
    container: Shell,
    eval_image: EvalImage,  # noqa: F811
):
    spared = fault.engine and fault.engine not in ENVIRONMENTS[eval_image.order.variant]
    level = "warning" if spared else fault.level
    container.say(f"mkdir -p /tmp/{fault.name}; cd /tmp/{fault.name}; bash")
    try:
        container.say(fault.breaks)
        sheet = container.look(10 if fault.id in ("vulkan.icd-hangs", "vulkan.icd-is-loader") else 20)
        keep(fault.name, {"image": sheet, "id": fault.id, "level": level})
        cause = first(visit(sheet)).cause
        assert (cause.id, cause.level) == (fault.id, level), cause
        assert fault.says in cause.cure
        assert fault.does or cause.command

        container.say(fault.does or cause.command)
        cured = container.look()
        assert of(fault.id, visit(cured)) == []
        assert cured["vulkan"]["devices"], cured["vulkan"]
    finally:
        container.say("exit")


def test_a_gpu_that_may_not_be_opened_is_named_and_opened_by_the_cure(container: Shell):
    tree = "/dev/tree"  # /dev is the one place of the container where device files work
    container.say(MACHINE.format(tree=tree))
    try:
        sheet = {**container.look(), "driver": container.look(root=tree)["driver"]}
        keep("device-node-denied", {"image": sheet, "id": "driver.node-denied", "level": "error"})
        cause = first(visit(sheet)).cause
        assert (cause.id, cause.level) == ("driver.node-denied", "error")
        assert "/dev/nvidia0 c---------" in cause.seen

        container.say(cause.command.replace("/dev/", f"{tree}/dev/"))
        cured = {**sheet, "driver": container.look(root=tree)["driver"]}
        assert of("driver.node-denied", visit(cured)) == []
    finally:
        container.say(f"cd /tmp; rm -rf {tree}")


def test_shared_memory_that_is_too_small_is_named_and_enlarged_by_the_cure(
    eval_image: EvalImage,  # noqa: F811
    faults: Path,
    tmp_path: Path,
):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with closing(Shell(eval_image, faults, "--bind", f"{tmp_path}:/dev/shm")) as shell:
            sheet = shell.look()
            keep("shm-tiny", {"image": sheet, "id": "shm.small", "level": "error"})
            cause = first(visit(sheet)).cause
            assert (cause.id, cause.level) == ("shm.small", "error")

            # the administrator's command, on what is mounted there
            words = cause.command.replace("/dev/shm", str(tmp_path)).split()
            subprocess.run(words, check=True)
            assert of("shm.small", visit(shell.look())) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_an_image_of_other_locks_is_named_and_a_new_build_cures_it(
    eval_image: EvalImage,  # noqa: F811
    tmp_path: Path,
):
    lock = lock_digest(eval_image.order)
    old = build(eval_image, tmp_path / "stair-eval.sif", lock="0" * 64)
    cause = first(file_visit(old, lock)).cause
    keep(
        "image-stale-lock",
        {"image_file": file_visit(old, lock)[0].image_file, "id": cause.id, "level": cause.level},
    )
    assert (cause.id, cause.level) == ("image.stale-lock", "warning")
    assert cause.command == f"containers/build eval --variant {eval_image.order.variant} --force"

    build(eval_image, old, lock=lock)  # what containers/build does, in little
    assert diagnose(file_visit(old, lock)) == ()


def test_an_image_for_another_machine_is_named_and_the_right_one_cures_it(
    eval_image: EvalImage,  # noqa: F811
    tmp_path: Path,
):
    foreign = build(eval_image, tmp_path / "eval.sif", lock="")
    foreign.write_bytes(foreign.read_bytes().replace(b"02\0", b"04\0"))
    done = subprocess.run(
        [str(eval_image.apptainer), "exec", str(foreign), "true"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "architecture" in done.stderr
    cause = first(file_visit(foreign)).cause
    keep(
        "image-architecture",
        {"image_file": file_visit(foreign)[0].image_file, "id": cause.id, "level": "error"},
    )
    assert (cause.id, cause.level) == ("image.architecture", "error")
    assert "build it on such a machine" in cause.cure

    assert diagnose(file_visit(eval_image.path)) == ()


def test_an_image_that_was_copied_in_part_is_named_and_a_whole_copy_cures_it(
    eval_image: EvalImage,  # noqa: F811
    tmp_path: Path,
):
    whole = build(eval_image, tmp_path / "whole.sif", lock="")
    part = tmp_path / "part.sif"
    part.write_bytes(whole.read_bytes()[:-5000])
    cause = first(file_visit(part)).cause
    keep("image-truncated", {"image_file": file_visit(part)[0].image_file, "id": cause.id, "level": "error"})
    assert (cause.id, cause.level) == ("image.truncated", "error")
    assert "copy it again" in cause.cure

    shutil.copy(whole, part)
    assert diagnose(file_visit(part)) == ()


def build(image: EvalImage, target: Path, lock: str) -> Path:
    """A real image of no content with the labels of an evaluation image."""
    labels = {**inspect_image(image.path).labels, "stair.lock_sha256": lock}
    ours = "\n".join(
        f"    {name} {value}" for name, value in labels.items() if name.startswith("stair.") and value
    )
    definition = target.with_suffix(".def")
    definition.write_text(f"Bootstrap: scratch\n\n%labels\n{ours}\n")
    words = [str(image.apptainer), "build", "--force", str(target), str(definition)]
    subprocess.run(words, check=True, capture_output=True)
    return target


def file_visit(path: Path, lock: str = "") -> list[Visit]:
    """An image file on a healthy host."""
    return [
        Visit(
            name="here",
            role="here",
            host=sheets.base("cpu-host"),
            image_file={**asdict(inspect_image(path)), "expected_lock": lock},
            request={"kind": "eval", "render": "cpu"},
        )
    ]
