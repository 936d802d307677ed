"""Prints what this machine is as one JSON value, the fact sheet (PROBE = 2); judges nothing.

One file, standard library only, Python >= 3.6, no import of stair: `python3 probe.py [FOLDER] [--timeout S]
[--only SECTION,...]`, `apptainer exec IMAGE python3 - FOLDER < probe.py`, or `collect()` from Python. FOLDER
is where runs will be written. Where the interpreter has no ctypes or json (Debian's python3-minimal),
sections that load libraries say so, and all others are as ever.

The surprise: nothing is asked in this process. Every question runs in a forked child, all of them at the same
time, so that a driver that hangs, crashes or prints costs one time limit at most and becomes a fact. A
section whose child did not come back is {"failed": what happened, "how": "timeout" | "signal" | "error"}.

The sheet: probe, time (local, ISO 8601), clock (s since 1970), took_s, host, inside ("", "apptainer",
"docker", "other"), nvoptix (path or null), and the sections of SECTIONS, each described where it is made
(`system` in `system()`, and so on). Sizes in MB are 1e6 bytes, what is unset or unknown is null, an `error`
that is empty means there was none. A fact {"loads", "error", "missing"} is that of `load()`.
"""

# Python 3.6 has to read this file, so it is written as one writes there.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalOperand=false
# ruff: noqa: B905, SIM105, SIM112, SIM905, UP031

import errno
import marshal
import os
import select
import signal
import socket
import stat
import struct
import sys
import time

try:  # Debian's python3-minimal has neither
    import ctypes

    HAS_CTYPES = True
except ImportError:
    HAS_CTYPES = False
try:
    import json

    HAS_JSON = True
except ImportError:
    HAS_JSON = False
for _name in "array fcntl fnmatch grp pwd resource".split():
    try:  # once here, not in every child: an image's files may come slowly
        __import__(_name)
    except ImportError:
        pass

PROBE = 2
SECTIONS = (
    "image system python variables driver nvml cuda libraries vulkan egl cpu memory shm limits disks network"
    " apptainer slurm"
).split()
MB = 1e6
PACKAGES = "stair torch numpy sapien mani_skill simpler_env gymnasium setuptools transformers".split()
VARIABLES = frozenset(
    "CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER CUDA_HOME LD_LIBRARY_PATH LD_PRELOAD DISPLAY WAYLAND_DISPLAY"
    " XDG_RUNTIME_DIR XDG_DATA_DIRS XDG_DATA_HOME XDG_CONFIG_DIRS XDG_CONFIG_HOME OMP_NUM_THREADS"
    " LP_NUM_THREADS LIBGL_ALWAYS_SOFTWARE MESA_LOADER_DRIVER_OVERRIDE GALLIUM_DRIVER DRI_PRIME TMPDIR"
    " PYTHONPATH CONDA_PREFIX VIRTUAL_ENV GPU_DEVICE_ORDINAL ROCR_VISIBLE_DEVICES SLURMD_NODENAME".split()
)
VARIABLE_STARTS = tuple(
    "VK_ EGL_ __EGL_ __GL __NV NVIDIA_ APPTAINER SINGULARITY SAPIEN_ MS_ MS2_ SLURM_JOB SLURM_CPU SLURM_GPU"
    " SLURM_MEM SLURM_NTASKS SLURM_NNODES SLURM_NODE SLURM_PROCID SLURM_LOCALID SLURM_STEP SLURM_TASK"
    " SLURM_ARRAY SLURM_CLUSTER_NAME SLURM_CONF SLURM_TRES SLURM_RESTART".split()
)
SECRETS = ("PASSWORD", "TOKEN", "SECRET", "KEY", "JWT", "CREDENTIAL", "COOKIE", "USERNAME")
"""Words in a name of which the value is never written down."""
CONTROL_NODES = "nvidiactl nvidia-uvm nvidia-modeset".split()
ICD_FOLDERS_ELSEWHERE = (
    "/usr/local/etc/vulkan/icd.d",
    "/usr/local/nvidia/share/vulkan/icd.d",
    "/usr/local/nvidia/vulkan/icd.d",
    "/run/opengl-driver/share/vulkan/icd.d",
    "/opt/stair/icd",
)
"""Where driver files lie without the loader's reading them: driver trees of clusters, our own images."""
LIBRARIES = (
    "libvulkan.so.1 libX11.so.6 libXext.so.6 libxcb.so.1 libGL.so.1 libEGL.so.1 libGLdispatch.so.0".split()
)
NVIDIA_LIBRARIES = (
    "libcuda.so.1 libnvidia-ml.so.1 libGLX_nvidia.so.0 libEGL_nvidia.so.0 libnvoptix.so.1".split()
)
NVIDIA_COMPANIONS = "glcore eglcore glsi tls glvkspirv gpucomp rtcore allocator".split()
VULKAN_RESULTS = {
    0: "VK_SUCCESS",
    5: "VK_INCOMPLETE",
    -1: "VK_ERROR_OUT_OF_HOST_MEMORY",
    -2: "VK_ERROR_OUT_OF_DEVICE_MEMORY",
    -3: "VK_ERROR_INITIALIZATION_FAILED",
    -4: "VK_ERROR_DEVICE_LOST",
    -5: "VK_ERROR_MEMORY_MAP_FAILED",
    -6: "VK_ERROR_LAYER_NOT_PRESENT",
    -7: "VK_ERROR_EXTENSION_NOT_PRESENT",
    -8: "VK_ERROR_FEATURE_NOT_PRESENT",
    -9: "VK_ERROR_INCOMPATIBLE_DRIVER",
    -10: "VK_ERROR_TOO_MANY_OBJECTS",
    -13: "VK_ERROR_UNKNOWN",
}
DEVICE_TYPES = {1: "integrated", 2: "discrete", 3: "virtual", 4: "cpu"}
NVIDIA = 0x10DE
FEATURES = (
    "independentBlend",
    "wideLines",
    "geometryShader",
    "descriptorBindingPartiallyBound",
    "timelineSemaphore",
)
EXTERNAL = (
    "VK_KHR_external_memory",
    "VK_KHR_external_memory_fd",
    "VK_KHR_external_semaphore",
    "VK_KHR_external_semaphore_fd",
)
NVML_THROTTLE = (
    (0x4, "sw-power-cap"),
    (0x8, "hw-slowdown"),
    (0x20, "sw-thermal-slowdown"),
    (0x40, "hw-thermal-slowdown"),
    (0x80, "hw-power-brake"),
)
NO_CTYPES = {"failed": "this Python has no ctypes", "how": "error"}
NVML_COMPUTE_MODES = ("default", "exclusive-thread", "prohibited", "exclusive-process")


# The sheet ------------------------------------------------------------------------------------------------


def collect(folder=".", timeout_s=5.0, only=(), root="") -> dict:
    """The sheet; `only` names sections, `root` stands before /proc, /dev, /sys, /etc and /usr/share (tests).

    Takes no longer than `timeout_s` unless children still move, see `gather`. A process with more than one
    thread (torch, a server) must not fork its way into libraries: there the questions are asked by a new
    interpreter.
    """
    if _threads() > 1:
        return _collect_elsewhere(folder, timeout_s, only, root)
    began = time.time()
    wanted = [name for name in SECTIONS if not only or name in only]
    questions = {
        "image": (Job("image", image, root),),
        "system": (Job("system", system, root), Job("groups", groups, within_s=1.0)),
        "python": (Job("python", python),),
        "variables": (Job("variables", variables),),
        "driver": (Job("driver", driver, root), Job("xids", xids, root)),
        "nvml": (Job("nvml", nvml, wild=True),),
        "cuda": (Job("cuda", cuda, wild=True),),
        "libraries": (Job("library names", library_names, root),),
        "vulkan": (
            Job("vulkan loader", vulkan_loader, wild=True),
            Job("vulkan files", vulkan_files, root),
        ),
        "egl": (Job("egl files", egl_files, root),),
        "cpu": (Job("cpu", cpu, root),),
        "memory": (Job("memory", memory, root),),
        "shm": (Job("shm", shm, root),),
        "limits": (Job("limits", limits, root),),
        "disks": tuple(Job(("disk", name), disk, name, path) for name, path in places(folder)),
        "network": (Job("network", network, root), Job("name", own_addresses, within_s=1.0)),
        "apptainer": (Job("apptainer", apptainer, root), Job("namespaces", user_namespaces)),
        "slurm": (Job("slurm", slurm),),
    }
    answers = gather([job for name in wanted for job in questions[name]], timeout_s, _follow_up)
    sheet = _frame(began, root)
    whole = {
        "system": _whole_system,
        "driver": _whole_driver,
        "libraries": _whole_libraries,
        "vulkan": _whole_vulkan,
        "egl": _whole_egl,
        "disks": _whole_disks,
        "network": _whole_network,
        "apptainer": _whole_apptainer,
        "slurm": _whole_slurm,
    }
    for name in wanted:
        sheet[name] = whole[name](answers) if name in whole else answers[name].fact()
    sheet["took_s"] = round(time.time() - began, 3)
    return sheet


def _frame(began, root):
    return {
        "probe": PROBE,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(began)),
        "clock": round(began, 3),
        "took_s": 0.0,
        "host": os.uname().nodename,
        "inside": inside(root),
        "nvoptix": nvoptix(root),
    }


def _follow_up(key, answer):
    """The questions that an answer raises."""
    value = answer.value
    if key == "library names":
        return [Job(("library", name), library, name, wild=True) for name in value["names"]]
    if key == "vulkan files":
        jobs = [
            Job(("icd", number), icd_alone, fact["path"], as_opened(fact), listen=True)
            for number, fact in enumerate(value["icds"])
            if fact["library"] and not fact["is_loader"]
        ]
        if len(jobs) != 1 or len(value["icds"]) != 1:  # of a single one `icd_alone` is all there is to ask
            jobs.append(Job("vulkan instance", vulkan_instance, listen=True))
        return jobs + [
            Job(("layer", number), load, as_opened(fact), wild=True)
            for number, fact in enumerate(value["layers"])
            if fact["library"]
        ]
    if key == "egl files":
        return [
            Job(("egl", number), load, fact["library"], wild=True)
            for number, fact in enumerate(value)
            if fact["library"]
        ]
    if key == "driver":
        return [Job(("node", path), node, path, at) for path, at in value["node_paths"]]
    if key == "apptainer" and value["path"]:
        return [Job("apptainer version", None, words=[value["path"], "--version"])]
    if key == "slurm" and value["path"]:
        asked = [Job("slurm version", None, words=[value["path"], "--version"])]
        # munge and the controller are asked by no version; a job has met them, and has thousands of siblings
        sinfo = None if value["job"] else which("sinfo")
        return asked + ([Job("slurm controller", None, words=[sinfo, "--noheader"])] if sinfo else [])
    return []


def outcome_of_load(answer):
    """What `load` found, whatever became of its child."""
    if answer.value is not None:
        return answer.value
    return {"loads": False, "path": None, "error": answer.failed, "missing": ""}


def _whole_system(answers):
    fact = answers["system"].fact()
    if "failed" not in fact:
        fact["groups"] = answers["groups"].value or [str(number) for number in os.getgroups()]
    return fact


def _whole_driver(answers):
    fact = answers["driver"].fact()
    if "failed" in fact:
        return fact
    fact["nodes"] = [
        answers["node", path].value
        or _node_fact(path, number=errno.ETIMEDOUT, error=answers["node", path].failed)
        for path, _ in fact.pop("node_paths")
    ]
    fact["xids"] = answers["xids"].value
    return fact


def _whole_libraries(answers):
    names = answers["library names"].fact()
    if "failed" in names:
        return names
    if not HAS_CTYPES:
        return dict(NO_CTYPES)
    facts = []
    for name in names["names"]:
        fact = dict({"name": name, "version": None}, **outcome_of_load(answers["library", name]))
        if names["copies"].get(name):
            fact["copies"] = names["copies"][name]
        facts.append(fact)
    return facts


def _whole_vulkan(answers):
    files, loader = answers["vulkan files"], answers["vulkan loader"]
    if files.failed:
        return files.fact()
    if not HAS_CTYPES:
        return dict(NO_CTYPES)
    fact = dict(files.value)
    fact["loader"] = dict({"version": None}, **outcome_of_load(loader))
    alone = Answer(failed="no driver file", how="error")
    for number, icd in enumerate(fact["icds"]):
        if ("icd", number) in answers:
            alone = answers["icd", number]
            value = alone.value or {}
            icd["loads"] = value.get("loads") or outcome_of_load(Answer(failed=alone.failed))
            icd["resolved"] = icd["resolved"] or icd["loads"].get("path")
            icd["failed"] = alone.failed or value.get("failed", "")
            icd["devices"] = value.get("devices")
            icd["said"] = alone.said
    for number, layer in enumerate(fact["layers"]):
        answer = answers.get(("layer", number))
        layer["loads"] = outcome_of_load(answer) if answer else None
        del layer["resolved"]
    instance = answers.get("vulkan instance", alone)
    if instance is alone and alone.value and not alone.failed:
        instance = Answer(alone.value["instance"], said=alone.said)
    told = dict(instance.fact())
    fact["devices"] = told.pop("devices", [])
    fact["instance"], fact["said"] = told, instance.said
    return fact


def _whole_egl(answers):
    vendors = answers["egl files"].fact()
    if "failed" in vendors:
        return vendors
    for number, vendor in enumerate(vendors):
        answer = answers.get(("egl", number))
        vendor["loads"] = outcome_of_load(answer) if answer and HAS_CTYPES else None
    return {"vendors": vendors}


def _whole_disks(answers):
    facts = []
    for key, answer in answers.items():
        if key[0] == "disk":
            fact = answer.value or {"name": key[1], "path": "", "error": ""}
            fact["error"] = fact["error"] or answer.failed
            facts.append(fact)
    return facts


def _whole_network(answers):
    fact = answers["network"].fact()
    if "failed" not in fact:
        fact["name_resolves_to"] = answers["name"].value
    return fact


def _whole_apptainer(answers):
    fact = answers["apptainer"].fact()
    if "failed" in fact:
        return fact
    version = answers.get("apptainer version", Answer())
    fact.update(_version_said(version), user_namespaces=answers["namespaces"].value)
    return fact


def _whole_slurm(answers):
    fact = answers["slurm"].fact()
    if "failed" in fact:
        return fact
    del fact["path"]
    fact.update(_version_said(answers.get("slurm version", Answer())))
    controller = _version_said(answers.get("slurm controller", Answer()))
    if not fact["error"] and not fact["code"] and (controller["error"] or controller["code"]):
        late = "the controller timed out" if controller["error"] == "timeout" else controller["error"]
        fact.update(code=controller["code"], error=late)
    return fact


def _version_said(answer):
    """{version, code, error} of a program that was asked for its version; the last word of its first line."""
    words = (answer.value or "").split("\n")[0].split()
    error = answer.failed or (answer.said.strip()[-400:] if answer.code else "")
    return {"version": words[-1] if words and not error else None, "code": answer.code, "error": error}


# Children -------------------------------------------------------------------------------------------------


REAP_S = 1.0
"""How long those that were killed may take to end before they are left behind."""


class Job:
    """A question for a child: `run(*given)`, or the program `words`.

    `run` may be a generator: the last value it handed on is the answer even when it did not come to its end.
    With `listen` what it writes on stderr is kept. `wild` ones load foreign code. `within_s`: a limit of its
    own.
    """

    def __init__(self, key, run, *given, words=None, listen=False, wild=False, within_s=None):
        self.key, self.run, self.given, self.words = key, run, given, words
        self.listen = listen or bool(words)
        self.wild = wild or listen
        self.within_s = within_s


class NoAnswer(Exception):
    """Says why a question cannot be answered."""


class Answer:
    """What came back from a child: a value, or why there is none (`failed`, `how`)."""

    def __init__(self, value=None, failed="", how="", said="", code=None):
        self.value, self.failed, self.how = value, failed, how
        self.said, self.code = said, code

    def fact(self):
        if self.failed:
            return {"failed": self.failed, "how": self.how}
        return self.value


class _Child:
    """A running job. Raises OSError where no process can be made."""

    def __init__(self, job):
        self.job = job
        self.value, self.bytes, self.said = None, b"", b""
        self.ended, self.error, self.status = False, "", None
        self.began = time.monotonic()
        self.counters, self.moved_at = None, 0.0
        self.answers, into = os.pipe()
        try:
            self.says, loud = os.pipe()
        except OSError:
            _close(self.answers, into)
            raise
        asker = os.getpid()
        try:
            self.pid = os.fork()
        except OSError:
            _close(self.answers, into, self.says, loud)
            raise
        if self.pid == 0:
            try:
                _be_child(job, into, loud, asker)
            finally:
                os._exit(70)
        _close(into, loud)
        for fd in (self.answers, self.says):
            os.set_blocking(fd, False)

    def read(self):
        """Takes what is there of the answer; true at its end."""
        data = _read_some(self.answers)
        self.bytes += data or b""
        while not self.job.words and len(self.bytes) >= 8:
            (size,) = struct.unpack_from("<Q", self.bytes)
            if len(self.bytes) < 8 + size:
                break
            kind, value = marshal.loads(self.bytes[8 : 8 + size])
            self.bytes = self.bytes[8 + size :]
            if kind == "value":
                self.value = value
            else:
                self.ended, self.error = True, value
        return self.ended or data == b""

    def hear(self):
        """Takes what was written on stderr; true at its end."""
        data = _read_some(self.says)
        self.said = (self.said + (data or b""))[-4096:]
        return data == b""

    def moves(self, now, patience_s):
        """Whether its process computed, fetched pages or waited for a processor within the last `patience_s`
        before `now`."""
        words = (read("/proc/%d/stat" % self.pid) or "").rpartition(")")[2].split()
        counters = words[7:13]  # page faults, time
        if counters != self.counters or words[:1] == ["R"]:
            self.counters, self.moved_at = counters, now
        return now - self.moved_at < patience_s

    def ends(self, patience_s):
        """Waits for the end of the process, never longer than that; true when it has ended."""
        end = time.monotonic() + patience_s
        while self.status is None:
            try:  # it keeps its number until it is reaped
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    return True
            except OSError:  # somebody else took it
                self.status = 0
            if time.monotonic() >= end:
                return self.status is not None
            time.sleep(0.002)
        return True

    def kill(self):
        """The process and whatever it started; nobody else can have its number yet."""
        for send in (os.killpg, os.kill) if self.status is None else ():
            try:
                send(self.pid, signal.SIGKILL)
            except OSError:
                pass

    def reap(self, patience_s=0.0):
        if self.ends(patience_s) and self.status is None:
            _, self.status = os.waitpid(self.pid, 0)

    def answer(self, in_time):
        answer = Answer(self.value, said=self.said.decode("utf-8", "replace") if self.job.listen else "")
        if not in_time:
            answer.failed = answer.how = "timeout"
        elif self.job.words:
            answer.value = self.bytes.decode("utf-8", "replace")
            answer.code = _code(self.status)
        elif self.error:
            answer.failed, answer.how = self.error, "error"
        elif not self.ended:
            code = _code(self.status)
            if code is None or code >= 0:
                answer.failed, answer.how = "ended with code %s" % code, "error"
            else:
                answer.failed, answer.how = "signal %d" % -code, "signal"
        return answer


def gather(jobs, timeout_s, follow_up=None):
    """Runs every job in a child of its own, all at once; {key: Answer}, in the order of asking.

    `follow_up(key, answer)` may hand on further jobs. A child that stands still at `timeout_s` is killed with
    its process group; one that still moves (a machine under load, an image that is read slowly) gets up to
    four times as long. One that cannot be killed (a driver's uninterruptible sleep) is left behind, not
    waited for.
    """
    waiting, running, answers, killed = list(jobs), {}, {}, []
    still_s = min(1.0, timeout_s / 2)
    end = time.monotonic() + timeout_s
    last = end + 3 * timeout_s
    poll = select.poll()

    def finish(child, in_time):
        for fd in (child.answers, child.says):
            if running.pop(fd, None):
                poll.unregister(fd)
        if in_time and not child.ended:
            in_time = child.ends(2.0)
        child.kill()
        child.reap()
        child.hear()
        _close(child.answers, child.says)
        killed.append(child)
        answers[child.job.key] = child.answer(in_time)

    try:
        while waiting or running:
            while waiting:
                job = waiting[0]
                try:
                    child = _Child(job)
                except OSError as error:
                    if running:
                        break  # no further process or file at the moment
                    answers[job.key] = Answer(failed=str(error), how="error")
                else:
                    answers[job.key] = None  # its place in the order
                    for fd in (child.answers, child.says):
                        running[fd] = child
                        poll.register(fd, select.POLLIN)
                waiting.pop(0)
            for fd, _ in poll.poll(200):
                child = running.get(fd)
                if child and fd == child.says:
                    if child.hear():
                        poll.unregister(fd)
                        del running[fd]
                elif child and child.read():
                    finish(child, in_time=True)
                    answer = answers[child.job.key]
                    if follow_up and not answer.failed:
                        waiting.extend(follow_up(child.job.key, answer))
            now = time.monotonic()
            for child in set(running.values()):
                late = child.job.within_s is not None and now >= child.began + child.job.within_s
                if now >= end - still_s:
                    late = late or (not (child.moves(now, still_s) and now < last) and now >= end)
                if late:
                    finish(child, in_time=False)
    finally:
        for child in set(running.values()):
            finish(child, in_time=False)
        patience = time.monotonic() + REAP_S
        for child in killed:
            child.reap(max(0.0, patience - time.monotonic()))
    return answers


def _close(*files):
    for file in files:
        os.close(file)


def _be_child(job, into, loud, asker):
    """The child's whole life: its own session, nothing on the parent's streams, the answer into a pipe."""
    os.setsid()
    _die_with(asker)
    quiet = _nowhere()
    os.dup2(quiet, 0)
    os.dup2(loud, 2)
    if job.words:
        os.dup2(into, 1)
        try:
            os.execv(job.words[0], job.words)
        except OSError as error:
            os.write(2, str(error).encode())
        os._exit(127)
    os.dup2(quiet, 1)
    if "faulthandler" in sys.modules:
        sys.modules["faulthandler"].disable()
    if job.wild:
        _no_core_file()

    def tell(kind, value):
        data = marshal.dumps((kind, value))
        data = struct.pack("<Q", len(data)) + data
        while data:
            data = data[os.write(into, data) :]

    try:
        result = job.run(*job.given)
        if hasattr(result, "send"):
            for value in result:
                tell("value", value)
        else:
            tell("value", result)
        tell("end", "")
    except NoAnswer as error:
        tell("end", str(error))
    except Exception as error:
        tell("end", "%s: %s" % (type(error).__name__, error))
    os._exit(0)


def _nowhere():
    """A descriptor that gives and keeps nothing; a bare root has no /dev/null."""
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:
        return os.open("/", os.O_RDONLY)


def _die_with(parent):
    if HAS_CTYPES:
        ctypes.CDLL(None).prctl(1, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before that
        os._exit(70)


def _no_core_file():
    """A driver that crashes here is a fact; a core file of it is litter."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass


def _read_some(fd):
    """Up to 64 kB, b"" at the end, None where nothing is there yet."""
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _code(status):
    """An exit code, negative for a signal."""
    if status is None:
        return None
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _threads():
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


def _collect_elsewhere(folder, timeout_s, only, root):
    """The sheet by a new interpreter; where that fails, every section says so."""
    import subprocess

    words = [sys.executable, os.path.abspath(__file__), folder, "--timeout", str(timeout_s), "--root", root]
    words += ["--only", ",".join(only)] if only else []
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        done = subprocess.run(words, timeout=4 * timeout_s + 30, **pipes)
        if done.returncode == 0:
            return dict(parse_json(done.stdout.decode()))
        said = done.stderr.decode("utf-8", "replace")[-400:]
        failed, how = "ended with code %d: %s" % (done.returncode, said), "error"
    except subprocess.TimeoutExpired:
        failed, how = "timeout", "timeout"
    sheet = _frame(time.time(), root)
    sheet.update({name: {"failed": failed, "how": how} for name in only or SECTIONS})
    return sheet


# What every section reads with ----------------------------------------------------------------------------


def read(path, most=1 << 20):
    """A file's text, or None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return None


def lines(path):
    return (read(path) or "").splitlines()


def number(path):
    """The integer in a file, or None."""
    try:
        return int((read(path) or "").split()[0])
    except (ValueError, IndexError):
        return None


def listed(folder):
    """Names in a folder, none where it cannot be read; in the order of the directory, as the loader reads
    it."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def which(name):
    """The program of that name on the PATH, or None."""
    for folder in (os.environ.get("PATH") or os.defpath).split(os.pathsep):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    return None


def parse_json(text):
    """The value of a JSON text. Raises ValueError that says where it is broken."""
    if not HAS_JSON:
        return _json_without_json(text)
    return json.loads(text)


def _json_without_json(text):
    """Nearly the same: JSON is nearly a Python literal."""
    import ast

    def value(node):
        if isinstance(node, ast.Dict):
            return {value(name): value(inner) for name, inner in zip(node.keys, node.values)}
        if isinstance(node, ast.List):
            return [value(inner) for inner in node.elts]
        if isinstance(node, ast.Name):
            return {"true": True, "false": False, "null": None}[node.id]
        return ast.literal_eval(node)

    try:
        return value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, KeyError) as error:
        raise ValueError("no JSON: %s" % error) from None


def mounts(root):
    """[(mount point, type, root within its file system, options of its file system)] from mountinfo."""
    found = []
    for line in lines(root + "/proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        left, right = left.split(), right.split()
        if len(left) > 4 and len(right) > 2:
            point, inner = (word.replace("\\040", " ") for word in (left[4], left[3]))
            found.append((point, right[0], inner, right[2].split(",")))
    return found


def kind_of_place(path, known):
    """The file-system type of the mount that a path lies on."""
    best = ("", "")
    for point, kind, _, _ in known:
        inside_it = path == point or path.startswith(point.rstrip("/") + "/")
        if inside_it and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


# Sections -------------------------------------------------------------------------------------------------


def inside(root):
    if os.path.isdir(root + "/.singularity.d"):
        return "apptainer"
    if os.path.exists(root + "/.dockerenv"):
        return "docker"
    known = os.path.exists(root + "/run/.containerenv") or os.environ.get("container")
    return "other" if known else ""


def nvoptix(root):
    path = root + "/usr/share/nvidia/nvoptix.bin"
    return path if os.path.exists(path) else None


def image(root):
    """path: the SIF this runs in; labels: the image's. Empty outside Apptainer."""
    if inside(root) != "apptainer":
        return {}
    try:
        labels = parse_json(read(root + "/.singularity.d/labels.json") or "{}")
    except ValueError:
        labels = {}
    path = os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER")
    return {"path": path or "", "labels": labels if isinstance(labels, dict) else {}}


def system(root):
    """kernel, machine, distribution, distribution_id, libc, uid, groups (names; numbers where they have
    none), boot_s (seconds since the start)."""
    release = {}
    for line in lines(root + "/etc/os-release") or lines(root + "/usr/lib/os-release"):
        name, _, value = line.partition("=")
        release[name] = value.strip().strip("\"'")
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        libc = ""
    uptime = (read(root + "/proc/uptime") or "").split(".")[0]
    return {
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "distribution": release.get("PRETTY_NAME", ""),
        "distribution_id": release.get("ID", ""),
        "libc": libc,
        "uid": os.getuid(),
        "boot_s": int(uptime) if uptime.isdigit() else None,
    }


def groups():
    """Names of this process's groups: asked apart, a dead directory service may hang."""
    return [_group_name(number) for number in sorted({os.getegid(), *os.getgroups()})]


def _group_name(number):
    try:
        import grp

        return grp.getgrgid(number).gr_name
    except (ImportError, KeyError, OSError):
        return str(number)


def _user_name(number):
    try:
        import pwd

        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError, OSError):
        return str(number)


def python() -> dict:
    """version [3, 11, 7], executable, packages {name: version or null} from metadata on sys.path."""
    found = dict.fromkeys(PACKAGES)
    for folder in sys.path:
        for entry in listed(folder or "."):
            stem, ending = os.path.splitext(entry)
            if ending not in (".dist-info", ".egg-info") or "-" not in stem:
                continue
            name, version = stem.split("-")[:2]
            name = name.lower().replace(".", "_")
            name = "stair" if name == "stair_vla" else name
            if name in found and found[name] is None:
                found[name] = version
    if found["stair"] is None:
        found["stair"] = _stair_version()
    return {"version": list(sys.version_info[:3]), "executable": sys.executable or "", "packages": found}


def _stair_version():
    """Of a checkout on the path, which has no metadata."""
    for folder in sys.path:
        for line in lines(os.path.join(folder or ".", "stair", "__init__.py")):
            if line.startswith("__version__"):
                return line.partition("=")[2].strip().strip("\"'")
    return None


def variables() -> dict:
    """{name: value} of the variables that matter here and are set; secrets never."""
    kept = {}
    for name in sorted(os.environ):
        plain = name
        for start in ("APPTAINERENV_", "SINGULARITYENV_"):
            plain = plain[len(start) :] if plain.startswith(start) else plain
        known = plain in VARIABLES or plain.startswith(VARIABLE_STARTS)
        if known and not any(word in name for word in SECRETS):
            kept[name] = os.environ[name]
    return kept


def driver(root):
    """NVIDIA's kernel driver: version, text (first line of /proc/driver/nvidia/version), modules, pci (cards
    on the bus, [{pci, device, driver}]), gpus [{pci, model, uuid, minor}], nodes [{path, mode, owner, errno,
    error}] opened for real (control nodes also where they are absent but a driver is there), xids (the
    kernel log's last Xid lines, null: not readable), smi."""
    text = (lines(root + "/proc/driver/nvidia/version") or [None])[0]
    modules = [line.split()[0] for line in lines(root + "/proc/modules") if line.strip()]
    known = [name for name in modules if name.startswith("nvidia") or name in ("nouveau", "gdrdrv")]
    gpus = []
    folder = root + "/proc/driver/nvidia/gpus"
    for bus in sorted(listed(folder)):
        told = {}
        for line in lines("%s/%s/information" % (folder, bus)):
            name, _, value = line.partition(":")
            told[name.strip()] = value.strip()
        minor = told.get("Device Minor", "")
        gpus.append(
            {
                "pci": _pci(told.get("Bus Location") or bus),
                "model": told.get("Model", ""),
                "uuid": told.get("GPU UUID", ""),
                "minor": int(minor) if minor.isdigit() else None,
            }
        )
    return {
        "version": driver_version(root),
        "text": text,
        "modules": known,
        "pci": cards_on_bus(root),
        "gpus": gpus,
        "node_paths": [(path, root + path) for path in _node_paths(root, gpus, text)],
        "smi": which("nvidia-smi"),
    }


def cards_on_bus(root):
    """NVIDIA's display controllers, with the kernel driver that has them, or null."""
    cards = []
    folder = root + "/sys/bus/pci/devices"
    for bus in sorted(listed(folder)):
        at = "%s/%s/" % (folder, bus)
        vendor, kind = (read(at + "vendor") or "").strip(), (read(at + "class") or "").strip()
        if vendor == "0x%04x" % NVIDIA and kind.startswith("0x03"):
            link = at + "driver"
            driver = os.path.basename(os.readlink(link)) if os.path.islink(link) else None
            cards.append({"pci": _pci(bus), "device": (read(at + "device") or "").strip(), "driver": driver})
    return cards


def driver_version(root):
    """Of the kernel module: the first word of the text that is a version, as 570.124.06."""
    for word in (lines(root + "/proc/driver/nvidia/version") or [""])[0].split():
        if word.count(".") >= 1 and word.replace(".", "").isdigit():
            return word
    return None


def _node_paths(root, gpus, text):
    found = set()
    for name in listed(root + "/dev"):
        if name in CONTROL_NODES or (name.startswith("nvidia") and name[6:].isdigit()):
            found.add("/dev/" + name)
    if text:
        found.update("/dev/" + name for name in CONTROL_NODES)
        found.update("/dev/nvidia%d" % gpu["minor"] for gpu in gpus if gpu["minor"] is not None)
    for folder, starts in (("/dev/nvidia-caps", ("",)), ("/dev/dri", ("renderD", "card"))):
        found.update(folder + "/" + name for name in listed(root + folder) if name.startswith(starts))
    return sorted(found)


def node(path, at) -> dict:
    """One device node, opened for reading and writing (a MIG capability: for reading) and closed again."""
    try:
        status = os.stat(at)
    except OSError as error:
        return _node_fact(path, number=error.errno, error=error.strerror)
    named = {"mode": stat.filemode(status.st_mode)}
    named["owner"] = _user_name(status.st_uid) + ":" + _group_name(status.st_gid)
    way = os.O_RDONLY if "/nvidia-caps/" in path else os.O_RDWR
    try:
        os.close(os.open(at, way | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError as error:
        return dict(_node_fact(path, number=error.errno, error=error.strerror), **named)
    return dict(_node_fact(path), **named)


def _node_fact(path, number=None, error=None):
    return {"path": path, "mode": "", "owner": "", "errno": number or 0, "error": error or ""}


def xids(root):
    """The last Xid lines of the kernel's log, or None where it may not be read."""
    log = _kernel_log(root)
    if log is None:
        return None
    found = [line.partition("NVRM: Xid") for line in log.splitlines()]
    return [mark + rest for _, mark, rest in found if mark][-20:]


def _kernel_log(root):
    if root:
        return read(root + "/dev/kmsg")
    if not HAS_CTYPES:
        return None
    libc = ctypes.CDLL(None)
    size = libc.klogctl(10, None, 0)  # SYSLOG_ACTION_SIZE_BUFFER
    if size <= 0:
        return None
    room = ctypes.create_string_buffer(size)
    size = libc.klogctl(3, room, size)  # SYSLOG_ACTION_READ_ALL
    return room.raw[:size].decode("utf-8", "replace") if size >= 0 else None


def _pci(text):
    """0000:17:00.0 of any way to write it (NVML: 00000000:17:00.0)."""
    domain, _, rest = text.strip().lower().partition(":")
    return domain[-4:] + ":" + rest if rest else text


# NVIDIA's libraries ---------------------------------------------------------------------------------------


def _foreign(name):
    """A library as ctypes calls it; None where there is none. Raises NoAnswer where it does not load."""
    if not HAS_CTYPES:
        raise NoAnswer(NO_CTYPES["failed"])
    fact = load(name)
    if not fact["loads"]:
        if fact["error"].startswith(name) and "No such file" in fact["error"]:
            return None
        raise NoAnswer(fact["error"])
    return ctypes.CDLL(name)


def _text(call, *given):
    """The string that a C function writes as its last but one argument; None where it fails."""
    room = ctypes.create_string_buffer(96)
    return room.value.decode("utf-8", "replace") if call(*given, room, len(room)) == 0 else None


def _value(kind, function, *given):
    """What a C function writes through its last pointer; None where it fails."""
    if function is None:
        return None
    room = kind()
    return room.value if function(*given, ctypes.byref(room)) == 0 else None


def nvml():
    """null without libnvidia-ml.so.1; else code, error (NVML's words), version, gpus [{index, name, uuid,
    pci, memory_mb, used_mb, processes (compute or graphics, whichever are more), mig, compute_mode,
    ecc_errors (uncorrected since the start), throttle [reasons other than idleness], temperature_c}]."""
    lib = _foreign("libnvidia-ml.so.1")
    if lib is None:
        return None
    lib.nvmlErrorString.restype = ctypes.c_char_p
    code = lib.nvmlInit_v2()
    fact = {"code": code, "error": "", "version": None, "gpus": []}
    if code:
        fact["error"] = (lib.nvmlErrorString(code) or b"").decode("utf-8", "replace")
        return fact
    fact["version"] = _text(lib.nvmlSystemGetDriverVersion)
    for index in range(_value(ctypes.c_uint, lib.nvmlDeviceGetCount_v2) or 0):
        handle = ctypes.c_void_p()
        code = lib.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        if code:
            error = (lib.nvmlErrorString(code) or b"").decode("utf-8", "replace")
            fact["gpus"].append({"index": index, "code": code, "error": error})
        else:
            fact["gpus"].append(dict({"index": index}, **_nvml_gpu(lib, handle)))
    return fact


def _nvml_gpu(lib, handle):
    def call(name):
        return getattr(lib, name, None)

    memory = (ctypes.c_ulonglong * 3)()
    known = lib.nvmlDeviceGetMemoryInfo(handle, memory) == 0
    pci = ctypes.create_string_buffer(128)  # nvmlPciInfo_t: 16 characters, 5 integers, 32 characters
    located = call("nvmlDeviceGetPciInfo_v3")
    located = located is not None and located(handle, pci) == 0
    reasons = _value(ctypes.c_ulonglong, call("nvmlDeviceGetCurrentClocksThrottleReasons"), handle) or 0
    mode = _value(ctypes.c_uint, call("nvmlDeviceGetComputeMode"), handle)
    mig, pending = ctypes.c_uint(), ctypes.c_uint()
    asked = call("nvmlDeviceGetMigMode")
    sliced = asked is not None and asked(handle, ctypes.byref(mig), ctypes.byref(pending)) == 0
    counts = [
        _nvml_processes(call("nvmlDeviceGet%sRunningProcesses_v3" % kind), handle)
        for kind in ("Compute", "Graphics")
    ]
    counts = [count for count in counts if count is not None]
    return {
        "name": _text(lib.nvmlDeviceGetName, handle),
        "uuid": _text(lib.nvmlDeviceGetUUID, handle),
        "pci": _pci(pci.raw[36:68].split(b"\0")[0].decode()) if located else None,
        "memory_mb": round(memory[0] / MB) if known else None,
        "used_mb": round(memory[2] / MB) if known else None,
        "processes": max(counts) if counts else None,
        "mig": bool(sliced and mig.value),
        "compute_mode": NVML_COMPUTE_MODES[mode] if mode is not None and mode < 4 else None,
        "ecc_errors": _value(ctypes.c_ulonglong, call("nvmlDeviceGetTotalEccErrors"), handle, 1, 0),
        "throttle": [name for bit, name in NVML_THROTTLE if reasons & bit],
        "temperature_c": _value(ctypes.c_uint, call("nvmlDeviceGetTemperature"), handle, 0),
    }


def _nvml_processes(function, handle):
    count = ctypes.c_uint(0)
    code = function(handle, ctypes.byref(count), None) if function else -1
    return count.value if code in (0, 7) else None  # 7: there are more than the room given, which is none


def cuda():
    """null without libcuda.so.1; else code, error (cuInit's), driver_api [12, 8], devices [{ordinal, name,
    uuid, pci, capability, memory_mb}] as CUDA_VISIBLE_DEVICES lets this process see them."""
    lib = _foreign("libcuda.so.1")
    if lib is None:
        return None
    version = _value(ctypes.c_int, lib.cuDriverGetVersion)
    code = lib.cuInit(0)
    fact = {
        "code": code,
        "error": _cuda_error(lib, code) if code else "",
        "driver_api": [version // 1000, version % 1000 // 10] if version else None,
        "devices": [],
    }
    count = 0 if code else _value(ctypes.c_int, lib.cuDeviceGetCount) or 0
    for ordinal in range(count):
        fact["devices"].append(_cuda_device(lib, ordinal))
    return fact


def _cuda_error(lib, code):
    words = ctypes.c_char_p()
    named = getattr(lib, "cuGetErrorName", None)
    if named is not None and named(code, ctypes.byref(words)) == 0 and words.value:
        return words.value.decode("utf-8", "replace")
    return "CUDA error %d" % code


def _cuda_device(lib, ordinal):
    device = ctypes.c_int()
    code = lib.cuDeviceGet(ctypes.byref(device), ordinal)
    if code:
        return {"ordinal": ordinal, "error": _cuda_error(lib, code)}
    name, pci = ctypes.create_string_buffer(256), ctypes.create_string_buffer(32)
    uuid, size = ctypes.create_string_buffer(16), ctypes.c_size_t()
    identify = getattr(lib, "cuDeviceGetUuid_v2", None) or getattr(lib, "cuDeviceGetUuid", None)
    identified = identify is not None and identify(uuid, device) == 0
    capability = []
    for attribute in (75, 76):  # COMPUTE_CAPABILITY_MAJOR, _MINOR
        part = ctypes.c_int()
        if lib.cuDeviceGetAttribute(ctypes.byref(part), attribute, device) == 0:
            capability.append(part.value)
    return {
        "ordinal": ordinal,
        "name": name.value.decode("utf-8", "replace")
        if lib.cuDeviceGetName(name, 256, device) == 0
        else None,
        "uuid": _gpu_uuid(uuid.raw) if identified else None,
        "pci": _pci(pci.value.decode()) if lib.cuDeviceGetPCIBusId(pci, 32, device) == 0 else None,
        "capability": capability or None,
        "memory_mb": round(size.value / MB)
        if lib.cuDeviceTotalMem_v2(ctypes.byref(size), device) == 0
        else None,
    }


def _gpu_uuid(raw):
    text = "".join("%02x" % byte for byte in raw)
    return "GPU-" + "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


# Shared libraries -----------------------------------------------------------------------------------------


def library_names(root):
    """libraries: [{name, loads, path, version, error, missing, copies}] of what a renderer needs, and of
    NVIDIA's where any of it is seen. `copies`: files of that name, first the one that is taken, where they
    are several."""
    names = list(LIBRARIES)
    version = driver_version(root)
    nodes = any(name.startswith("nvidia") for name in listed(root + "/dev"))
    if version or nodes or any(library_files(name) for name in NVIDIA_LIBRARIES):
        names += NVIDIA_LIBRARIES
    if version:
        names += ["libnvidia-%s.so.%s" % (part, version) for part in NVIDIA_COMPANIONS]
    copies = {name: library_files(name) for name in names}
    return {"names": names, "copies": {name: found for name, found in copies.items() if len(found) > 1}}


def library(name) -> dict:
    fact = load(name)
    fact["version"] = library_version(fact["path"]) if fact["path"] else None
    return fact


def load(name) -> dict:
    """Whether the dynamic linker takes a library the way drivers are opened: {loads, path, error, missing}.

    `missing` is the dependency that was not found (empty where it is the library itself).
    """
    libc = ctypes.CDLL(None)
    libc.dlopen.restype, libc.dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    libc.dlerror.restype = ctypes.c_char_p
    handle = libc.dlopen(os.fsencode(name), 1)  # RTLD_LAZY; ctypes itself would bind everything at once
    if not handle:
        error = (libc.dlerror() or b"").decode("utf-8", "replace")
        return {"loads": False, "path": None, "error": error, "missing": missing_in(error, name)}
    return {"loads": True, "path": _path_of(libc, handle), "error": "", "missing": ""}


def missing_in(error, name):
    """The dependency that a dlopen error names, or ""."""
    if "No such file" not in error:
        return ""
    if error.startswith("Error loading shared library "):  # musl
        lacking = error[len("Error loading shared library ") :].partition(":")[0]
    else:
        lacking = error.partition(":")[0]
    return "" if lacking == name else lacking


def _path_of(libc, handle):
    link = ctypes.POINTER(ctypes.c_void_p * 2)()
    libc.dlinfo.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    if libc.dlinfo(handle, 2, ctypes.byref(link)) or not link or not link.contents[1]:  # RTLD_DI_LINKMAP
        return None
    return os.fsdecode(ctypes.string_at(link.contents[1])) or None


def library_version(path):
    """Of a library file: what follows `.so.` in its true name, in its name outside the container, or its
    soname.

    Apptainer binds libcuda.so.570.124.06 as a file named libcuda.so.1; mountinfo still has the true name.
    """
    path = os.path.realpath(path)
    names = [os.path.basename(inner) for point, _, inner, _ in mounts("") if point == path]
    names += [os.path.basename(path), soname(path) or ""]
    versions = [name.partition(".so.")[2] for name in names]
    return max(versions, key=lambda version: version.count(".")) or None


def library_files(name):
    """Distinct files that the dynamic linker may take for a name, in its order."""
    folders = [word for word in (os.environ.get("LD_LIBRARY_PATH") or "").split(":") if word]
    paths = [os.path.join(folder, name) for folder in folders]
    paths += _ld_cache().get(name, [])
    machine = os.uname().machine
    for folder in ("/lib/%s-linux-gnu" % machine, "/usr/lib/%s-linux-gnu" % machine, "/lib64", "/usr/lib64"):
        paths.append(os.path.join(folder, name))
    found = {}
    for path in paths:
        if os.path.isfile(path) and _elf_class(path) == 2:
            status = os.stat(path)
            found.setdefault((status.st_dev, status.st_ino), path)
    return list(found.values())


_cache = {}


def _ld_cache():
    """{name: [paths]} of /etc/ld.so.cache, glibc's new format only."""
    if _cache:
        return _cache
    try:
        with open("/etc/ld.so.cache", "rb") as file:
            data = file.read()
    except OSError:
        data = b""
    start = data.find(b"glibc-ld.so.cache1.1")
    if start >= 0:
        data = data[start:]
        (count,) = struct.unpack_from("<I", data, 20)
        for index in range(min(count, (len(data) - 48) // 24)):
            _, key, value = struct.unpack_from("<iII", data, 48 + 24 * index)
            name = data[key : data.index(b"\0", key)].decode("utf-8", "replace")
            path = data[value : data.index(b"\0", value)].decode("utf-8", "replace")
            _cache.setdefault(name, []).append(path)
    _cache.setdefault("", [])
    return _cache


def _elf_class(path):
    """2 for a 64-bit library, 1 for a 32-bit one, 0 for something else."""
    try:
        with open(path, "rb") as file:
            head = file.read(5)
    except OSError:
        return 0
    return head[4] if head[:4] == b"\x7fELF" and len(head) == 5 else 0


def soname(path):
    """The name that a 64-bit ELF library gives itself, or None."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:5] != b"\x7fELF\x02":
                return None
            start, (size, count) = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<HH", head, 54)
            file.seek(start)
            table = file.read(size * count)
            parts = [struct.unpack_from("<IIQQQQQQ", table, size * index) for index in range(count)]
            dynamic = next((part for part in parts if part[0] == 2), None)  # PT_DYNAMIC
            if dynamic is None:
                return None
            file.seek(dynamic[2])
            raw = file.read(dynamic[5])
            tags = dict(struct.unpack_from("<QQ", raw, at) for at in range(0, len(raw) - 15, 16))
            if 14 not in tags or 5 not in tags:  # DT_SONAME, DT_STRTAB
                return None
            for kind, _, offset, address, _, length, _, _ in parts:
                if kind == 1 and address <= tags[5] < address + length:  # PT_LOAD
                    file.seek(offset + tags[5] - address + tags[14])
                    return file.read(256).split(b"\0")[0].decode("utf-8", "replace")
    except (OSError, struct.error):
        pass
    return None


# Vulkan and EGL -------------------------------------------------------------------------------------------


def vulkan_loader():
    """The loader as this process finds it: {loads, path, error, missing, version}."""
    fact = load("libvulkan.so.1")
    if not fact["loads"]:
        yield fact
        return
    yield dict(fact, version=None)
    yield dict(fact, version=_dotted(_loader_version(ctypes.CDLL("libvulkan.so.1"))))


def vulkan_files(root) -> dict:
    """vulkan: loader {loads, path, version, error, missing}, named_by (the variable the loader obeys, or
    ""), icds (in the loader's order), icds_elsewhere (driver files that it does not read), layers [{path,
    name, kind, library, loads, broken}], instance {code, name}, said (the loader's last 4 kB of errors and
    warnings), devices (see `vulkan_instance`). An entry of icds: path, exists, readable, errno, size,
    broken (what is wrong with the file), library (as written), resolved (its file), api_version, is_loader
    (it names the loader itself; not loaded then), and of a child that had this driver file alone: loads,
    devices (names, null: none came back), failed ("", "timeout", "signal 11", "VK_ERROR_..."), said."""
    new = _knows_driver_files()
    trusted = (
        os.getuid() == os.geteuid() and os.getgid() == os.getegid()
    )  # else the loader reads no variables
    named_by = ""
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES") if trusted else ():
        if name in os.environ and not named_by and (new or name == "VK_ICD_FILENAMES"):
            named_by = name  # an empty one hides every driver
    folders = [folder + "/vulkan/icd.d" for folder in vulkan_folders(root, trusted)]
    if named_by:
        paths = _named_files(os.environ[named_by])
    else:
        added = os.environ.get("VK_ADD_DRIVER_FILES") if trusted and new else ""
        paths = _named_files(added or "") + _json_files(folders)
    select, disable = (
        _patterns(os.environ.get("VK_LOADER_DRIVERS_" + word)) for word in ("SELECT", "DISABLE")
    )
    if new:
        paths = [path for path in paths if _passes(path, select, disable)]
    elsewhere = []
    for path in _json_files(folders + [root + folder for folder in ICD_FOLDERS_ELSEWHERE]):
        known = paths + elsewhere
        same = any(os.path.realpath(path) == os.path.realpath(other) for other in known)
        if not same and (os.path.dirname(path).endswith("icd.d") or "api_version" in (read(path) or "")):
            elsewhere.append(path)
    return {
        "named_by": named_by,
        "icds": [icd_file(path) for path in dict.fromkeys(paths)],
        "icds_elsewhere": elsewhere,
        "layers": vulkan_layers(root, trusted),
    }


def vulkan_folders(root, trusted):
    """Folders of which the loader reads vulkan/icd.d and so on, in its order."""
    home = os.environ.get("HOME") or ""
    get = os.environ.get
    own = home or get("XDG_CONFIG_HOME")
    folders = [get("XDG_CONFIG_HOME") or home + "/.config"] if own and trusted else []
    folders += [root + word for word in (get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if word]
    folders.append(root + "/etc")
    folders += [get("XDG_DATA_HOME") or home + "/.local/share"] if own and trusted else []
    folders += [
        root + word for word in (get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":") if word
    ]
    return list(dict.fromkeys(folder.rstrip("/") for folder in folders))


def _knows_driver_files():
    """Whether the loader is 1.3.207 or newer: before, it reads VK_ICD_FILENAMES only. By its file's name."""
    files = library_files("libvulkan.so.1")
    version = library_version(files[0]) if files else None
    try:
        return (
            tuple(int(word) for word in (version or "9").split(".")) >= (1, 3, 207)
            or (version or "").count(".") < 2
        )
    except ValueError:
        return True


def _named_files(value):
    """What a variable names: files, or folders of them."""
    paths = []
    for word in value.split(os.pathsep):
        if word:
            paths += _json_files([word]) if os.path.isdir(word) else [word]
    return paths


def _json_files(folders):
    return [
        os.path.join(folder, name) for folder in folders for name in listed(folder) if name.endswith(".json")
    ]


def _patterns(value):
    return [word for word in (value or "").lower().split(",") if word]


def _passes(path, select, disable):
    """The loader's own filter of driver files by their names."""
    from fnmatch import fnmatchcase

    name = os.path.basename(path).lower()
    chosen = any(fnmatchcase(name, pattern) for pattern in select)
    return chosen if select else not any(fnmatchcase(name, pattern) for pattern in disable)


def icd_file(path) -> dict:
    """What stands in a driver file."""
    fact = {
        "path": path,
        "exists": os.path.lexists(path),
        "readable": False,
        "errno": 0,
        "size": None,
        "broken": "",
        "library": None,
        "resolved": None,
        "api_version": None,
        "loads": None,
        "is_loader": False,
        "devices": None,
        "failed": "",
        "said": "",
    }
    inner = _inner_of(path, "ICD", fact)
    fact["exists"] = fact["exists"] or fact["errno"] not in (0, errno.ENOENT, errno.ENOTDIR)
    if inner is not None:
        fact["library"] = inner.get("library_path")
        if not isinstance(fact["library"], str) or not fact["library"]:
            fact["library"], fact["broken"] = None, "ICD has no library_path"
        else:
            fact["resolved"] = resolve(fact["library"], path)
            fact["is_loader"] = _is_loader(fact["library"], fact["resolved"])
        version = inner.get("api_version")
        fact["api_version"] = version if version is None else str(version)
    return fact


def _inner_of(path, key, fact):
    """The object under `key` of a JSON file, or None; what is wrong with it goes into `fact`."""
    try:
        with open(path, "rb") as file:
            text = file.read(1 << 20)
    except OSError as error:
        fact["errno"] = error.errno
        return None
    fact.update(readable=True, size=len(text))
    try:
        whole = parse_json(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        fact["broken"] = str(error) or type(error).__name__
        return None
    inner = whole.get(key) if isinstance(whole, dict) else None
    if not isinstance(inner, dict):
        fact["broken"] = "it has no %s object" % key
        return None
    return inner


def resolve(library, beside):
    """The file that a library_path means: with a slash it is relative to the JSON file, else it is
    searched."""
    if "/" in library:
        path = os.path.join(os.path.dirname(os.path.abspath(beside)), library)
        return os.path.normpath(path)
    files = library_files(library)
    return files[0] if files else None


def as_opened(fact):
    """What the loader hands to the dynamic linker: the file, or a bare name as it is."""
    return fact["resolved"] if "/" in fact["library"] else fact["library"]


def _is_loader(library, resolved):
    names = [os.path.basename(library)]
    if resolved:
        names += [os.path.basename(os.path.realpath(resolved)), soname(resolved) or ""]
    return any(name == "libvulkan.so" or name.startswith("libvulkan.so.") for name in names)


def icd_alone(path, library):
    """One driver file by itself: whether its library loads, then what the loader makes of it."""
    fact = {"loads": load(library)}
    yield fact
    for name in ("VK_ADD_DRIVER_FILES", "VK_LOADER_DRIVERS_SELECT", "VK_LOADER_DRIVERS_DISABLE"):
        os.environ.pop(name, None)
    os.environ["VK_DRIVER_FILES"] = os.environ["VK_ICD_FILENAMES"] = path
    instance = vulkan_instance()
    failed = instance["name"] if instance["code"] else ""
    devices = None if failed else [device["name"] for device in instance["devices"]]
    yield dict(fact, instance=instance, failed=failed, devices=devices)


def vulkan_instance():
    """instance {code, name}, devices [{index, name, type, vendor, uuid, pci, driver, driver_info,
    api_version, lacks {sapien2, sapien3: names of the features and extensions that SAPIEN 2.2.2 and 3
    demand}}]."""
    if not _loads_talkative_loader():
        raise NoAnswer("no loader")
    code, devices = _enumerate()
    return {"code": code, "name": VULKAN_RESULTS.get(code, "VkResult %d" % code), "devices": devices}


def _loads_talkative_loader():
    """Whether there is a loader; it reads the variable for its messages when it is loaded, and once."""
    os.environ["VK_LOADER_DEBUG"] = "error,warn"
    return load("libvulkan.so.1")["loads"]


def _loader_version(vulkan):
    """As Vulkan packs it; a loader of Vulkan 1.0 has no such function."""
    number = ctypes.c_uint32(1 << 22)
    ask = getattr(vulkan, "vkEnumerateInstanceVersion", None)
    if ask is not None:
        ask(ctypes.byref(number))
    return number.value


def _dotted(version):
    return "%d.%d.%d" % (version >> 22 & 0x7F, version >> 12 & 0x3FF, version & 0xFFF)


def _enumerate():
    """(VkResult, devices): an instance, its physical devices, and what each of them is."""
    vulkan = ctypes.CDLL("libvulkan.so.1")

    class Application(ctypes.Structure):
        _fields_ = [("sType", ctypes.c_uint32), ("pNext", ctypes.c_void_p), ("name", ctypes.c_char_p)]
        _fields_ += [("version", ctypes.c_uint32), ("engine", ctypes.c_char_p)]
        _fields_ += [("engineVersion", ctypes.c_uint32), ("apiVersion", ctypes.c_uint32)]

    class Create(ctypes.Structure):
        _fields_ = [("sType", ctypes.c_uint32), ("pNext", ctypes.c_void_p), ("flags", ctypes.c_uint32)]
        _fields_ += [("application", ctypes.c_void_p)]
        _fields_ += [("layerCount", ctypes.c_uint32), ("layers", ctypes.c_void_p)]
        _fields_ += [("extensionCount", ctypes.c_uint32), ("extensions", ctypes.c_void_p)]

    asked = (
        1 << 22 if _loader_version(vulkan) < 1 << 22 | 1 << 12 else 1 << 22 | 2 << 12
    )  # 1.2, as SAPIEN asks
    application = Application(sType=0, name=b"stair", apiVersion=asked)
    create = Create(sType=1, application=ctypes.addressof(application))
    instance = ctypes.c_void_p()
    code = vulkan.vkCreateInstance(ctypes.byref(create), None, ctypes.byref(instance))
    if code:
        return code, []
    count = ctypes.c_uint32()
    code = vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    if not code and count.value:
        code = vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    if code and code != 5:
        return code, []
    devices = []
    for index in range(count.value):
        fact = _vulkan_device(vulkan, ctypes.c_void_p(handles[index]), asked > 1 << 22)
        devices.append(dict({"index": index}, **fact))
    return 0, devices


class _Chained:
    """A Vulkan structure as bytes: sType, pNext, then what the driver fills in."""

    def __init__(self, kind, size, after=None):
        self.bytes = ctypes.create_string_buffer(16 + size)
        struct.pack_into("<I4xQ", self.bytes, 0, kind, after.address if after else 0)
        self.address = ctypes.addressof(self.bytes)

    def integer(self, at):
        return struct.unpack_from("<I", self.bytes, 16 + at)[0]

    def text(self, at, size=256):
        return self.bytes.raw[16 + at : 16 + at + size].split(b"\0")[0].decode("utf-8", "replace")


def _vulkan_device(vulkan, device, modern):
    properties = ctypes.create_string_buffer(1024)  # VkPhysicalDeviceProperties has 824 bytes
    vulkan.vkGetPhysicalDeviceProperties(device, properties)
    version, _, vendor, _, kind = struct.unpack_from("<5I", properties)
    extensions = _extensions(vulkan, device)
    fact = {
        "name": properties.raw[20:276].split(b"\0")[0].decode("utf-8", "replace"),
        "type": DEVICE_TYPES.get(kind, "other"),
        "vendor": vendor,
        "uuid": None,
        "pci": None,
        "driver": "",
        "driver_info": "",
        "api_version": _dotted(version),
    }
    features = dict.fromkeys(
        "independentBlend wideLines geometryShader descriptorBindingPartiallyBound timelineSemaphore".split(),
        0,
    )
    if modern:
        driver = _Chained(1000196000, 520)
        pci = _Chained(1000212000, 16, driver)
        identity = _Chained(1000071004, 48, pci)
        everything = _Chained(1000059001, 1024, identity)
        vulkan.vkGetPhysicalDeviceProperties2(device, ctypes.c_void_p(everything.address))
        fact["driver"], fact["driver_info"] = driver.text(4), driver.text(260)
        uuid = identity.bytes.raw[16:32]
        fact["uuid"] = "".join("%02x" % byte for byte in uuid) if any(uuid) else None
        if "VK_EXT_pci_bus_info" in extensions:
            fact["pci"] = "%04x:%02x:%02x.%x" % tuple(pci.integer(at) for at in (0, 4, 8, 12))
        timeline = _Chained(1000207000, 8)
        binding = _Chained(1000161001, 80, timeline)
        asked = _Chained(1000059000, 256, binding)
        vulkan.vkGetPhysicalDeviceFeatures2(device, ctypes.c_void_p(asked.address))
        features["independentBlend"] = asked.integer(12)
        features["geometryShader"] = asked.integer(16)
        features["wideLines"] = asked.integer(60)
        features["descriptorBindingPartiallyBound"] = binding.integer(68)
        features["timelineSemaphore"] = timeline.integer(0)
    fact["lacks"] = what_sapien_lacks(features, extensions, _draws(vulkan, device), fact["type"], vendor)
    return fact


def _extensions(vulkan, device):
    count = ctypes.c_uint32()
    if vulkan.vkEnumerateDeviceExtensionProperties(device, None, ctypes.byref(count), None):
        return set()
    room = ctypes.create_string_buffer(260 * max(1, count.value))  # a name of 256 characters, a version
    vulkan.vkEnumerateDeviceExtensionProperties(device, None, ctypes.byref(count), room)
    raw = room.raw
    return {raw[260 * index : 260 * index + 256].split(b"\0")[0].decode() for index in range(count.value)}


def _draws(vulkan, device):
    """Whether one queue family has graphics and compute."""
    count = ctypes.c_uint32()
    vulkan.vkGetPhysicalDeviceQueueFamilyProperties(device, ctypes.byref(count), None)
    room = ctypes.create_string_buffer(24 * max(1, count.value))
    vulkan.vkGetPhysicalDeviceQueueFamilyProperties(device, ctypes.byref(count), room)
    return any(struct.unpack_from("<I", room, 24 * index)[0] & 3 == 3 for index in range(count.value))


def what_sapien_lacks(features, extensions, draws, kind, vendor) -> dict:
    """{sapien2, sapien3} -> what they demand of a device and this one has not.

    SAPIEN 2.2.2 always asks for the external memory and semaphores of CUDA; SAPIEN 3 only of NVIDIA's
    devices, and it takes others only when they are discrete or trace rays.
    """
    common = ["independentBlend", "descriptorBindingPartiallyBound", "timelineSemaphore"]
    lacks2 = [name for name in [*common, "wideLines", "geometryShader"] if not features[name]]
    lacks3 = [name for name in common if not features[name]]
    if not draws:
        lacks2.append("a queue for graphics and compute")
        lacks3.append("a queue for graphics and compute")
    wanted3 = ["VK_EXT_extended_dynamic_state"]
    wanted3 += EXTERNAL if vendor == NVIDIA else ()
    wanted3 += () if kind == "discrete" else ("VK_KHR_ray_tracing_pipeline",)
    return {
        "sapien2": lacks2 + [name for name in EXTERNAL if name not in extensions],
        "sapien3": lacks3 + [name for name in wanted3 if name not in extensions],
    }


def vulkan_layers(root, trusted):
    """Layer files of both kinds, as the loader finds them."""
    found = []
    for kind in ("implicit", "explicit"):
        folders = ["%s/vulkan/%s_layer.d" % (folder, kind) for folder in vulkan_folders(root, trusted)]
        named = os.environ.get("VK_LAYER_PATH" if kind == "explicit" else "VK_IMPLICIT_LAYER_PATH")
        paths = _named_files(named) if named and trusted else _json_files(folders)
        for path in dict.fromkeys(paths):
            found += _layers_of(path, kind)
    return found


def _layers_of(path, kind):
    fact = {"path": path, "name": "", "kind": kind, "library": None, "resolved": None, "broken": ""}
    try:
        whole = parse_json(read(path) or "")
        layers = whole.get("layers") or [whole["layer"]]  # pyright: ignore
        facts = []
        for layer in layers:
            library = layer.get("library_path")
            resolved = resolve(library, path) if library else None
            facts.append(dict(fact, name=str(layer.get("name", "")), library=library, resolved=resolved))
        return facts
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        broken = str(error) if isinstance(error, ValueError) else "it has no layer object"
        return [dict(fact, broken=broken or type(error).__name__)]


def egl_files(root):
    """egl: vendors [{path, broken, library, loads}], the files by which libglvnd finds EGL drivers, in its
    order."""
    named = os.environ.get("__EGL_VENDOR_LIBRARY_FILENAMES")
    if named:
        paths = [word for word in named.split(":") if word]
    else:
        folders = os.environ.get("__EGL_VENDOR_LIBRARY_DIRS")
        folders = (
            folders.split(":")
            if folders
            else [root + "/etc/glvnd/egl_vendor.d", root + "/usr/share/glvnd/egl_vendor.d"]
        )
        paths = [path for folder in folders for path in sorted(_json_files([folder]))]
    vendors = []
    for path in paths:
        told = {"errno": 0, "broken": ""}
        inner = _inner_of(path, "ICD", told) or {}
        library = inner.get("library_path")
        vendors.append(
            {
                "path": path,
                "broken": os.strerror(told["errno"]) if told["errno"] else told["broken"],
                "library": library if isinstance(library, str) else None,
            }
        )
    return vendors


# Processors, memory, disks --------------------------------------------------------------------------------


def cgroups(root):
    """{controller: [folders from this process's group up to the root]}; "" is the unified hierarchy (v2)."""
    paths = {}
    for line in lines(root + "/proc/self/cgroup"):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in names.split(","):
            paths[name] = path
    found = {}
    for point, kind, inner, options in mounts(root):
        names = (
            [""]
            if kind == "cgroup2"
            else [name for name in options if name in paths]
            if kind == "cgroup"
            else []
        )
        for name in names:
            path = paths.get(name)
            if path is None or name in found:
                continue
            if inner != "/" and (path + "/").startswith(inner + "/"):
                path = path[len(inner) :]
            top = folder = root + point
            if ".." not in path.split("/") and os.path.isdir(top + path):
                folder = (top + path).rstrip("/")
            folders = [folder]
            while len(folder) > len(top):
                folder = os.path.dirname(folder)
                folders.append(folder)
            found[name] = folders
    return found


def cpu(root) -> dict:
    """count, affinity [numbers], quota (CPUs, of the cgroup, or null), model, numa (nodes)."""
    quotas = []
    known = cgroups(root)
    for folder in known.get("", []):
        words = (read(folder + "/cpu.max") or "").split()
        if len(words) == 2 and words[0].isdigit():
            quotas.append(int(words[0]) / int(words[1]))
    for folder in known.get("cpu", []):
        quota, period = number(folder + "/cpu.cfs_quota_us"), number(folder + "/cpu.cfs_period_us")
        if quota and period and quota > 0:
            quotas.append(quota / period)
    told = lines(root + "/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    nodes = listed(root + "/sys/devices/system/node")
    return {
        "count": sum(line.startswith("processor") for line in told) or os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)),
        "quota": round(min(quotas), 3) if quotas else None,
        "model": models[0] if models else "",
        "numa": sum(name.startswith("node") and name[4:].isdigit() for name in nodes) or 1,
    }


def memory(root) -> dict:
    """total_mb, available_mb, swap_mb of the machine; limit_mb, the smallest of the cgroups this process
    is in, or null; used_mb by the group that has it (or by this process's own); cgroup "v1", "v2" or ""."""
    told = {}
    for line in lines(root + "/proc/meminfo"):
        words = line.replace(":", "").split()
        if len(words) > 1 and words[1].isdigit():
            told[words[0]] = round(int(words[1]) * 1024 / MB)
    known, limits_found, used, version = cgroups(root), [], None, ""
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    folders = known.get("memory", [])
    if folders:
        version = "v1"
    elif any(read(folder + "/memory.current") for folder in known.get("", [])):
        folders, names, version = known[""], ("memory.max", "memory.current"), "v2"
    for folder in folders:
        limit, current = (number(folder + "/" + name) for name in names)
        used = current if used is None else used
        if limit is not None and limit < 1 << 60:
            limits_found.append((limit, current))
    if limits_found:
        limit, used = min(limits_found, key=lambda found: found[0])
    return {
        "total_mb": told.get("MemTotal"),
        "available_mb": told.get("MemAvailable"),
        "swap_mb": told.get("SwapTotal"),
        "limit_mb": round(limit / MB) if limits_found else None,
        "used_mb": round(used / MB) if used is not None else None,
        "cgroup": version,
    }


def shm(root):
    """path, type, free_mb, total_mb, writable, error of /dev/shm; a file of one page is made there and
    removed."""
    path = root + "/dev/shm"
    fact = {
        "path": "/dev/shm",
        "type": kind_of_place("/dev/shm", mounts(root)),
        "free_mb": None,
        "total_mb": None,
    }
    fact.update(writable=False, error="")
    yield fact
    try:
        _measure_space(path, fact)
        _try_to_write(path, fact, limit=4096)
    except OSError as error:
        fact["error"] = error.strerror
    for name in ("write_mb_s", "sync_ms", "free_inodes"):
        fact.pop(name, None)
    yield fact


def limits(root) -> dict:
    """{nofile, memlock, nproc, stack, core, as: [soft, hard]}, -1 = unlimited; bytes where they are bytes."""
    names = {
        "Max open files": "nofile",
        "Max locked memory": "memlock",
        "Max processes": "nproc",
        "Max stack size": "stack",
        "Max core file size": "core",
        "Max address space": "as",
    }
    found = {}
    for line in lines(root + "/proc/self/limits"):
        name = names.get(line[:26].strip())
        if name:
            found[name] = [-1 if word == "unlimited" else int(word) for word in line[26:].split()[:2]]
    return found


def places(folder):
    """What `disks` looks at: (name, path)."""
    home = os.environ.get("HOME") or "/"
    try:
        folder = os.path.abspath(os.fspath(folder))
    except OSError:  # where we stand was deleted
        pass
    return (
        ("run folder", folder),
        ("temporary files", os.environ.get("TMPDIR") or "/tmp"),
        ("home", home),
    )


def disk(name, path):
    """disks: [{name, path, type, free_mb, total_mb, free_inodes, writable, write_mb_s, sync_ms, error}]. Of a
    folder that does not exist yet, the nearest one that does is looked at."""
    fact = {"name": name, "path": path, "type": "", "free_mb": None, "total_mb": None, "free_inodes": None}
    fact.update(writable=False, write_mb_s=None, sync_ms=None, error="")
    known = mounts("")
    fact["type"] = kind_of_place(path, known)
    yield fact  # all that a dead file server leaves
    place = path
    while place != os.path.dirname(place):
        try:
            os.stat(place)
            break
        except OSError as error:  # any other errno, such as that of a dead server, is what there is to tell
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                break
            place = os.path.dirname(place)
    fact["type"] = kind_of_place(os.path.realpath(place), known)
    try:
        _measure_space(place, fact)
        yield fact
        _try_to_write(place, fact, limit=4 << 20)
    except OSError as error:
        fact["error"] = error.strerror
    yield fact


def _measure_space(path, fact):
    space = os.statvfs(path)
    fact["free_mb"] = round(space.f_bavail * space.f_frsize / MB)
    fact["total_mb"] = round(space.f_blocks * space.f_frsize / MB)
    fact["free_inodes"] = space.f_favail if space.f_files else None


def _try_to_write(folder, fact, limit):
    """Writes up to `limit` bytes for 50 ms at most into a file that has no name any more, and syncs once."""
    # on a disk that nodes or containers share, another probe may have the same number
    path = os.path.join(folder, ".stair-probe-%d-%s" % (os.getpid(), os.urandom(6).hex()))
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.unlink(path)
        block = os.urandom(4096) * (min(limit, 1 << 20) // 4096)
        began = time.perf_counter()
        written = os.write(fd, block)  # also where this process stood still for as long as that
        while written < limit and time.perf_counter() - began < 0.05:
            written += os.write(fd, block)
        writing = time.perf_counter()
        os.fsync(fd)
        ended = time.perf_counter()
    finally:
        os.close(fd)
    fact["writable"] = True
    fact["write_mb_s"] = round(written / MB / max(ended - began, 1e-6), 1)
    fact["sync_ms"] = round(1000 * (ended - writing), 2)


# Network, Apptainer, Slurm --------------------------------------------------------------------------------


def network(root) -> dict:
    """interfaces [{name, up, addresses, mtu, speed_mb_s}], infiniband [{device, port, state, rate, link}],
    name_resolves_to: what this machine's name means to it ([]: nothing, null: no answer)."""
    addresses = _addresses(root)
    interfaces = []
    for name in sorted(listed(root + "/sys/class/net")):
        folder = root + "/sys/class/net/" + name
        if not os.path.isdir(folder):
            continue
        flags = (read(folder + "/flags") or "0x0").strip()
        speed = number(folder + "/speed")
        interfaces.append(
            {
                "name": name,
                "up": bool(int(flags, 16) & 1) and (read(folder + "/operstate") or "").strip() != "down",
                "addresses": addresses.get(name, []),
                "mtu": number(folder + "/mtu"),
                "speed_mb_s": round(speed / 8, 1) if speed and speed > 0 else None,
            }
        )
    cards = []
    for device in sorted(listed(root + "/sys/class/infiniband")):
        ports = "%s/sys/class/infiniband/%s/ports" % (root, device)
        for port in sorted(listed(ports)):
            state, rate, link = (
                (read("%s/%s/%s" % (ports, port, name)) or "").strip()
                for name in ("state", "rate", "link_layer")
            )
            state = state.partition(":")[2].strip() or state
            cards.append({"device": device, "port": int(port), "state": state, "rate": rate, "link": link})
    return {"interfaces": interfaces, "infiniband": cards}


def _addresses(root):
    """{interface: addresses}, of IPv4 by SIOCGIFCONF, of IPv6 from /proc."""
    found = {}
    try:
        import array
        import fcntl

        size = 40 if struct.calcsize("P") == 8 else 32
        room = array.array("B", bytes(256 * size))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            told = fcntl.ioctl(asking, 0x8912, struct.pack("iP", len(room), room.buffer_info()[0]))
        raw = room.tobytes()[: struct.unpack("iP", told)[0]]
        for at in range(0, len(raw) - size + 1, size):
            name = raw[at : at + 16].split(b"\0")[0].decode().partition(":")[0]
            found.setdefault(name, []).append(socket.inet_ntoa(raw[at + 20 : at + 24]))
    except (ImportError, OSError):
        pass
    for line in lines(root + "/proc/net/if_inet6"):
        words = line.split()
        if len(words) == 6:
            packed = bytes(int(words[0][at : at + 2], 16) for at in range(0, 32, 2))
            found.setdefault(words[5], []).append(socket.inet_ntop(socket.AF_INET6, packed))
    return found


def own_addresses():
    """What the host's own name resolves to: asked apart, a dead name server may hang."""
    try:
        told = socket.getaddrinfo(os.uname().nodename, None, 0, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(entry[4][0] for entry in told))


def apptainer(root) -> dict:
    """found, path, version, code and error (of `apptainer --version`), user_namespaces (this process may
    make one), setuid (the installation's starter is), nvliblist (names in nvliblist.conf); null: cannot be
    told."""
    named = os.environ.get("APPTAINER") or ""
    path = named if os.path.isabs(named) and os.access(named, os.X_OK) else None
    path = path or which("apptainer") or which("singularity")
    fact = {"found": path is not None, "path": path, "setuid": None, "nvliblist": None}
    if path is None:
        return fact
    true = os.path.realpath(path)
    prefix = os.path.dirname(os.path.dirname(true))
    for kind in ("apptainer", "singularity"):
        folder = "%s/libexec/%s/bin" % (prefix, kind)
        if os.path.isdir(folder):
            try:
                status = os.stat(folder + "/starter-suid")
                fact["setuid"] = bool(status.st_mode & stat.S_ISUID) and status.st_uid == 0
            except OSError:
                fact["setuid"] = False
        for place in (prefix + "/etc", os.path.dirname(prefix) + "/etc", root + "/etc"):
            text = read("%s/%s/nvliblist.conf" % (place, kind))
            if text is not None and fact["nvliblist"] is None:
                words = [line.partition("#")[0].strip() for line in text.splitlines()]
                fact["nvliblist"] = [word for word in words if word]
    return fact


def user_namespaces():
    """Whether this process may make one: it is tried, in this child."""
    if not HAS_CTYPES:
        return None
    return ctypes.CDLL(None).unshare(0x10000000) == 0  # CLONE_NEWUSER


def slurm():
    """found, version, code and error (of `sbatch --version`, outside jobs then of `sinfo`), job {id, nodes,
    gpus, cpus, memory_mb, partition} of the job this runs in, as Slurm wrote them, else {}."""
    path = which("sbatch")
    get = os.environ.get
    job = {}
    if get("SLURM_JOB_ID"):
        job = {
            "id": get("SLURM_JOB_ID"),
            "nodes": get("SLURM_JOB_NODELIST") or get("SLURM_NODELIST"),
            "gpus": get("SLURM_GPUS_ON_NODE") or get("SLURM_GPUS_PER_NODE"),
            "cpus": get("SLURM_CPUS_ON_NODE"),
            "memory_mb": get("SLURM_MEM_PER_NODE"),
            "partition": get("SLURM_JOB_PARTITION"),
        }
    return {"found": path is not None, "path": path, "job": job}


# The command ----------------------------------------------------------------------------------------------


def as_json(value):
    """A JSON text, in ASCII; python3-minimal has no json."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode("utf-8")  # what is no text cannot be JSON
        return '"' + "".join(_escaped(letter) for letter in text) + '"'
    if isinstance(value, dict):
        return (
            "{" + ", ".join(as_json(str(name)) + ": " + as_json(inner) for name, inner in value.items()) + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(as_json(inner) for inner in value) + "]"
    return repr(value)


def _escaped(letter):
    if " " <= letter <= "~":
        return "\\" + letter if letter in '"\\' else letter
    pair = letter.encode("utf-16-be")
    return "".join("\\u%02x%02x" % (pair[at], pair[at + 1]) for at in range(0, len(pair), 2))


def main(argv):
    """The exit code: 0, 2 for wrong words, 1 where nobody takes the sheet."""
    folder, timeout_s, only, root, words = ".", 5.0, [], "", list(argv)
    try:
        while words:
            word = words.pop(0)
            if word == "--timeout":
                timeout_s = float(words.pop(0))
            elif word == "--only":
                only = [name for name in words.pop(0).split(",") if name]
            elif word == "--root":
                root = words.pop(0)
            elif word.startswith("-"):
                raise ValueError("unknown option %s" % word)
            else:
                folder = word
        unknown = [name for name in only if name not in SECTIONS]
        if unknown:
            raise ValueError("no section %s; known: %s" % (", ".join(unknown), ", ".join(SECTIONS)))
    except (ValueError, IndexError) as error:
        sys.stderr.write("%s\nprobe.py [FOLDER] [--timeout S] [--only SECTION,...]\n" % (error or "no value"))
        return 2
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:  # a closed stream must not become a pipe to a child
        spare = _nowhere()
        if spare > 2:
            os.close(spare)
            break
    data = (as_json(collect(folder, timeout_s, only, root)) + "\n").encode()
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
