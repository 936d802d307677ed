"""Libraries that are missing, broken, hanging and crashing: made with gcc, taken by the real linker."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stair.doctor import probe
from tests.doctor.probing import PROBE, compiled, run_probe

HANGS = (
    "#include <unistd.h>\n__attribute__((constructor)) static void begin(void) { for (;;) sleep(1000); }\n"
)
CRASHES = "__attribute__((constructor)) static void begin(void) { *(volatile int *)0 = 1; }\n"
PRINTS = (
    "#include <unistd.h>\n__attribute__((constructor)) static void begin(void)"
    ' { write(1, "banner\\n", 7); write(2, "noise\\n", 6); }\n'
)
NOTHING = "int nothing_in_here;\n"


def has(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


needs_loader = pytest.mark.skipif(not has("libvulkan.so.1"), reason="no Vulkan loader (libvulkan1)")
LAVAPIPE = next((path for path in sorted(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))), None)


def icd(folder: Path, name: str, library: str, **more: str) -> Path:
    """A driver file; api_version="" leaves it away."""
    inner = {"library_path": library, "api_version": "1.3.0", **more}
    path = folder / f"{name}.json"
    path.write_text(
        json.dumps({"file_format_version": "1.0.0", "ICD": {k: v for k, v in inner.items() if v}})
    )
    return path


def only_these(*paths: Path) -> dict[str, str | None]:
    """The environment in which the loader reads these driver files alone."""
    named = os.pathsep.join(str(path) for path in paths)
    return {"VK_DRIVER_FILES": named, "VK_ICD_FILENAMES": named, "VK_ADD_DRIVER_FILES": None}


# Vulkan


@needs_loader
def test_every_driver_file_is_tried_alone_and_none_holds_up_the_others(tmp_path: Path):
    """One hangs, one crashes, one is the loader itself, others are broken files: within the limit."""
    compiled(tmp_path, "libhangs.so", HANGS)
    compiled(tmp_path, "libcrashes.so", CRASHES)
    compiled(tmp_path, "libabsent.so", NOTHING)
    compiled(tmp_path, "libneedy.so", NOTHING, f"-L{tmp_path}", "-Wl,--no-as-needed", "-labsent")
    (tmp_path / "libabsent.so").unlink()
    compiled(tmp_path, "libno_driver.so", NOTHING)
    (tmp_path / "empty.json").touch()
    (tmp_path / "malformed.json").write_text('{"ICD": {')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "no_icd.json").write_text('{"layer": {}}')
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "copied_loader.so").symlink_to(probe.library_files("libvulkan.so.1")[0])
    files = [
        icd(tmp_path, "hangs", str(tmp_path / "libhangs.so")),
        icd(tmp_path, "crashes", "./libcrashes.so"),
        icd(tmp_path, "needy", "./libneedy.so"),
        icd(tmp_path, "no_driver", "./libno_driver.so"),
        icd(tmp_path, "nowhere", "libno_such_driver.so.0"),
        icd(tmp_path, "itself", "libvulkan.so.1"),
        icd(tmp_path, "linked", "./copied_loader.so"),
        icd(tmp_path, "no_library", ""),
        *(tmp_path / f"{name}.json" for name in ("empty", "malformed", "list", "no_icd", "not_there")),
    ]
    began = time.monotonic()
    told = run_probe("--only", "vulkan", "--timeout", "6", env=only_these(*files))["vulkan"]
    assert time.monotonic() - began < 30  # a limit of 6 s, on however busy a machine
    icds = {Path(fact["path"]).stem: fact for fact in told["icds"]}
    assert list(icds) == [path.stem for path in files]
    assert {name: fact["failed"] for name, fact in icds.items() if fact["failed"]} == {
        "hangs": "timeout",
        "crashes": "signal 11",
        "needy": "VK_ERROR_INCOMPATIBLE_DRIVER",
        "no_driver": "VK_ERROR_INCOMPATIBLE_DRIVER",
        "nowhere": "VK_ERROR_INCOMPATIBLE_DRIVER",
    }
    assert icds["hangs"]["loads"]["error"] == "timeout"
    assert icds["crashes"]["loads"]["error"] == "signal 11"
    assert icds["crashes"]["resolved"] == str(tmp_path / "libcrashes.so")
    assert icds["needy"]["loads"]["missing"] == "libabsent.so"
    assert "libabsent.so" in icds["needy"]["said"]
    assert icds["no_driver"]["loads"]["loads"]
    assert (icds["nowhere"]["resolved"], icds["nowhere"]["loads"]["missing"]) == (None, "")
    assert {name for name, fact in icds.items() if fact["is_loader"]} == {"itself", "linked"}
    assert icds["itself"]["loads"] is icds["itself"]["devices"] is None
    broken = {name: fact["broken"] for name, fact in icds.items() if fact["broken"]}
    assert set(broken) == {"no_library", "empty", "malformed", "list", "no_icd"}
    assert broken["empty"].startswith("Expecting value")
    assert (icds["not_there"]["exists"], icds["not_there"]["errno"]) == (False, 2)
    assert icds["empty"]["size"] == 0
    assert set(told["instance"]) == {"failed", "how"}  # together they hang or crash
    assert told["named_by"] == "VK_DRIVER_FILES"


@needs_loader
def test_no_driver_at_all_is_the_loaders_own_error(tmp_path: Path):
    told = run_probe("--only", "vulkan", "--timeout", "20", env=only_these(tmp_path / "absent.json"))[
        "vulkan"
    ]
    assert told["instance"]["name"] == "VK_ERROR_INCOMPATIBLE_DRIVER"
    assert "ound no drivers" in told["said"]
    assert told["devices"] == []


@needs_loader
@pytest.mark.skipif(not LAVAPIPE, reason="no Mesa (mesa-vulkan-drivers)")
def test_a_driver_that_works_says_its_devices_and_what_sapien_misses(tmp_path: Path):
    assert LAVAPIPE
    compiled(tmp_path, "libnothing.so", NOTHING)
    bad = icd(tmp_path, "bad", str(tmp_path / "libnothing.so"))
    sheet = run_probe("--only", "vulkan", "--timeout", "20", env=only_these(bad, LAVAPIPE))
    told = sheet["vulkan"]
    assert told["instance"] == {"code": 0, "name": "VK_SUCCESS"}
    assert [fact["devices"] for fact in told["icds"]] == [None, [told["devices"][0]["name"]]]
    (device,) = told["devices"]
    assert device["name"].startswith("llvmpipe")
    assert (device["type"], device["driver"], device["vendor"]) == ("cpu", "llvmpipe", 0x10005)
    assert device["driver_info"].startswith("Mesa ")
    assert len(device["uuid"]) == 32
    assert device["api_version"].count(".") == 2
    assert set(device["lacks"]) == {"sapien2", "sapien3"}
    if device["driver_info"].startswith("Mesa 22."):  # spec/simulation.md, the table of drivers
        assert "VK_KHR_external_semaphore_fd" in device["lacks"]["sapien2"]
        assert "VK_KHR_ray_tracing_pipeline" in device["lacks"]["sapien3"]
    assert told["loader"]["version"].startswith("1.")
    assert told["loader"]["path"].endswith("libvulkan.so.1")


@pytest.mark.parametrize("api_version", ["1.0.5", ""])
@needs_loader
@pytest.mark.skipif(not LAVAPIPE, reason="no Mesa (mesa-vulkan-drivers)")
def test_an_api_version_is_told_as_it_is_written(api_version: str, tmp_path: Path):
    assert LAVAPIPE
    library = json.loads(LAVAPIPE.read_text())["ICD"]["library_path"]
    path = icd(tmp_path, "old", library, api_version=api_version)
    told = run_probe("--only", "vulkan", "--timeout", "20", env=only_these(path))["vulkan"]
    (fact,) = told["icds"]
    assert fact["api_version"] == (api_version or None)
    assert fact["loads"]["loads"]
    if api_version:
        assert told["instance"] == {"code": 0, "name": "VK_SUCCESS"}
        assert told["devices"][0]["lacks"]["sapien2"]  # what is asked in a chain is not answered so
    else:
        assert told["instance"]["name"] == fact["failed"] == "VK_ERROR_INCOMPATIBLE_DRIVER"
        assert "api_version" in told["said"]


@needs_loader
def test_a_single_driver_that_hangs_is_the_instance_that_hangs(tmp_path: Path):
    path = icd(tmp_path, "hangs", str(compiled(tmp_path, "libhangs.so", HANGS)))
    told = run_probe("--only", "vulkan", "--timeout", "5", env=only_these(path))["vulkan"]
    assert told["instance"] == {"failed": "timeout", "how": "timeout"}
    assert (told["icds"][0]["failed"], told["devices"], told["loader"]["loads"]) == ("timeout", [], True)


GPU = r"""
#include <stdint.h>
#include <string.h>
typedef struct { uint32_t api, driver, vendor, device, type; char name[256]; uint8_t cache[16];
                 uint64_t limits[63]; uint32_t sparse[5]; } Properties;
typedef struct Chain { uint32_t sType; struct Chain *pNext; } Chain;
typedef struct { Chain head; Properties properties; } Properties2;
typedef struct { Chain head; uint32_t id; char name[256], info[256]; uint8_t conformance[4]; } Driver;
typedef struct { Chain head; uint32_t domain, bus, device, function; } Pci;
typedef struct { Chain head; uint8_t device[16], driver[16], luid[8]; uint32_t mask, valid; } Identity;
typedef struct { Chain head; uint32_t features[55]; } Features2;
typedef struct { char name[256]; uint32_t version; } Extension;
typedef struct { uint32_t flags, count, bits, granularity[3]; } Queue;
static struct { uintptr_t magic; } instance = {0x01CDC0DE}, gpu = {0x01CDC0DE};
#define VERSION ((1u << 22) | (3u << 12) | 277)
static void properties(void *device, Properties *to) {
  memset(to, 0, sizeof *to);
  to->api = VERSION; to->vendor = 0x10de; to->type = 2; strcpy(to->name, "NVIDIA L40S");
}
static void properties2(void *device, Properties2 *to) {
  properties(device, &to->properties);
  for (Chain *at = to->head.pNext; at; at = at->pNext) {
    Driver *driver = (Driver *)at;
    Pci *pci = (Pci *)at;
    if (at->sType == 1000196000) { strcpy(driver->name, "NVIDIA"); strcpy(driver->info, "570.124.06"); }
    if (at->sType == 1000212000) { pci->domain = pci->function = 0; pci->bus = 0xca; pci->device = 1; }
    if (at->sType == 1000071004) for (int i = 0; i < 16; i++) ((Identity *)at)->device[i] = i * 17;
  }
}
static void features(void *device, uint32_t *to) {
  for (int i = 0; i < 55; i++) to[i] = i != 15; /* no wideLines */
}
static void features2(void *device, Features2 *to) {
  features(device, to->features);
  for (Chain *at = to->head.pNext; at; at = at->pNext) {
    uint32_t *flags = (uint32_t *)(at + 1);
    if (at->sType == 1000161001) for (int i = 0; i < 20; i++) flags[i] = 1;
    if (at->sType == 1000207000) flags[0] = 0; /* no timelineSemaphore */
  }
}
static int extensions(void *device, const char *layer, uint32_t *count, Extension *to) {
  static const char *names[] = {"VK_EXT_pci_bus_info", "VK_KHR_external_memory", "VK_KHR_external_memory_fd",
    "VK_KHR_external_semaphore", "VK_KHR_external_semaphore_fd", "VK_EXT_extended_dynamic_state"};
  if (to) for (unsigned i = 0; i < *count && i < 6; i++) strcpy(to[i].name, names[i]);
  else *count = 6;
  return 0;
}
static void queues(void *device, uint32_t *count, Queue *to) {
  if (to) { memset(to, 0, sizeof *to); to->flags = 7; to->count = 1; } else *count = 1;
}
static int none(void *a, uint32_t *count, void *to) { *count = 0; return 0; }
static int version(uint32_t *to) { *to = VERSION; return 0; }
static int create(void *info, void *allocator, void **to) { *to = &instance; return 0; }
static int devices(void *of, uint32_t *count, void **to) {
#ifdef DENIED
  return -3;
#endif
  if (to) to[0] = &gpu;
  *count = 1; return 0;
}
static int nothing(void) { return 0; }
void *vk_icdGetInstanceProcAddr(void *of, const char *name) {
  struct { const char *name; void *at; } table[] = {
    {"vkEnumerateInstanceExtensionProperties", none}, {"vkEnumerateInstanceVersion", version},
    {"vkCreateInstance", create}, {"vkEnumeratePhysicalDevices", devices},
    {"vkGetPhysicalDeviceProperties", properties}, {"vkGetPhysicalDeviceProperties2", properties2},
    {"vkGetPhysicalDeviceFeatures", features}, {"vkGetPhysicalDeviceFeatures2", features2},
    {"vkEnumerateDeviceExtensionProperties", extensions},
    {"vkGetPhysicalDeviceQueueFamilyProperties", queues}};
  if (!strcmp(name, "vk_icdNegotiateLoaderICDInterfaceVersion")) return 0;
  for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
    if (!strcmp(name, table[i].name)) return table[i].at;
  if (strstr(name, "Group") || strstr(name, "KHR") || strstr(name, "EXT")) return 0;
  return nothing;
}
int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *to) { if (*to > 4) *to = 4; return 0; }
"""


@needs_loader
def test_a_gpu_is_told_with_its_place_uuid_and_driver(tmp_path: Path):
    """A driver made here that claims to be NVIDIA's, through the real loader."""
    compiled(tmp_path, "libgpu.so", GPU, "-w")
    told = run_probe(
        "--only", "vulkan", "--timeout", "20", env=only_these(icd(tmp_path, "gpu", "./libgpu.so"))
    )
    assert told["vulkan"]["instance"] == {"code": 0, "name": "VK_SUCCESS"}
    assert told["vulkan"]["devices"] == [
        {
            "index": 0,
            "name": "NVIDIA L40S",
            "type": "discrete",
            "vendor": 0x10DE,
            "uuid": "00112233445566778899aabbccddeeff",
            "pci": "0000:ca:01.0",
            "driver": "NVIDIA",
            "driver_info": "570.124.06",
            "api_version": "1.3.277",
            "lacks": {"sapien2": ["timelineSemaphore", "wideLines"], "sapien3": ["timelineSemaphore"]},
        }
    ]


@needs_loader
def test_a_driver_whose_gpu_is_denied_fails_at_its_devices(tmp_path: Path):
    compiled(tmp_path, "libgpu.so", GPU, "-w", "-DDENIED")
    told = run_probe(
        "--only", "vulkan", "--timeout", "20", env=only_these(icd(tmp_path, "gpu", "./libgpu.so"))
    )
    assert told["vulkan"]["instance"]["name"] == "VK_ERROR_INITIALIZATION_FAILED"
    assert told["vulkan"]["icds"][0]["failed"] == "VK_ERROR_INITIALIZATION_FAILED"
    assert told["vulkan"]["devices"] == []


def files_of(monkeypatch, tmp_path: Path, **variables: str) -> dict[str, Any]:
    for name in [name for name in os.environ if name.startswith(("VK_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, value in {"HOME": str(tmp_path / "home"), **variables}.items():
        monkeypatch.setenv(name, value)
    return probe.vulkan_files(str(tmp_path))


FOLDERS = (
    "home/.config/vulkan/icd.d",
    "etc/xdg/vulkan/icd.d",
    "etc/vulkan/icd.d",
    "home/.local/share/vulkan/icd.d",
    "usr/local/share/vulkan/icd.d",
    "usr/share/vulkan/icd.d",
)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A driver file in every folder that the loader knows, and one where it does not look."""
    for number, folder in enumerate((*FOLDERS, "usr/local/nvidia/vulkan/icd.d")):
        (tmp_path / folder).mkdir(parents=True)
        icd(tmp_path / folder, f"driver{number}", "libnothing.so")
    (tmp_path / FOLDERS[-1] / "notes.txt").touch()
    return tmp_path


def test_driver_files_come_in_the_loaders_order(monkeypatch, host: Path):
    told = files_of(monkeypatch, host)
    assert [fact["path"] for fact in told["icds"]] == [
        str(host / folder / f"driver{number}.json") for number, folder in enumerate(FOLDERS)
    ]
    assert told["icds_elsewhere"] == [str(host / "usr/local/nvidia/vulkan/icd.d/driver6.json")]
    assert told["named_by"] == ""


def test_a_variable_hides_the_folders_and_the_newer_one_wins(monkeypatch, host: Path):
    mine = icd(host, "mine", "libnothing.so")
    folder = str(host / FOLDERS[2])
    told = files_of(monkeypatch, host, VK_DRIVER_FILES=f"{mine}:{folder}", VK_ICD_FILENAMES="/other.json")
    assert [fact["path"] for fact in told["icds"]] == [str(mine), f"{folder}/driver2.json"]
    assert told["named_by"] == "VK_DRIVER_FILES"
    assert len(told["icds_elsewhere"]) == 6
    told = files_of(monkeypatch, host, VK_ICD_FILENAMES=str(mine))
    assert ([fact["path"] for fact in told["icds"]], told["named_by"]) == ([str(mine)], "VK_ICD_FILENAMES")


def test_an_empty_variable_hides_every_driver(monkeypatch, host: Path):
    told = files_of(monkeypatch, host, VK_DRIVER_FILES="", VK_ICD_FILENAMES="/other.json")
    assert (told["icds"], told["named_by"], len(told["icds_elsewhere"])) == ([], "VK_DRIVER_FILES", 7)


def test_an_older_loader_knows_the_older_variable_only(monkeypatch, host: Path):
    monkeypatch.setattr(probe, "_knows_driver_files", lambda: False)
    told = files_of(monkeypatch, host, VK_DRIVER_FILES="/new.json", VK_ICD_FILENAMES="/old.json")
    assert ([fact["path"] for fact in told["icds"]], told["named_by"]) == (["/old.json"], "VK_ICD_FILENAMES")


def test_files_are_added_and_filtered(monkeypatch, host: Path):
    mine = icd(host, "mine", "libnothing.so")
    told = files_of(
        monkeypatch, host, VK_ADD_DRIVER_FILES=str(mine), VK_LOADER_DRIVERS_DISABLE="*driver[1-9]*"
    )
    assert [Path(fact["path"]).name for fact in told["icds"]] == ["mine.json", "driver0.json"]
    assert len(told["icds_elsewhere"]) == 6
    told = files_of(
        monkeypatch, host, VK_ADD_DRIVER_FILES=str(mine), VK_LOADER_DRIVERS_SELECT="MINE*,driver4*"
    )
    assert [Path(fact["path"]).name for fact in told["icds"]] == ["mine.json", "driver4.json"]


WHAT_THE_LOADER_READS = (
    "import ctypes; number = ctypes.c_uint32()\n"
    "ctypes.CDLL('libvulkan.so.1').vkEnumerateInstanceExtensionProperties(None, ctypes.byref(number), None)\n"
)


@needs_loader
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"XDG_DATA_DIRS": "{0}/usr/local/share:{0}/usr/share", "XDG_CONFIG_DIRS": "{0}/etc/xdg"},
        {"XDG_DATA_HOME": "{0}/usr/share", "XDG_CONFIG_HOME": "{0}/etc"},
        {"VK_DRIVER_FILES": "{0}/usr/share/vulkan/icd.d", "VK_ICD_FILENAMES": "/none.json"},
        {"VK_DRIVER_FILES": "", "VK_ICD_FILENAMES": "{0}/usr/share/vulkan/icd.d/driver5.json"},
        {
            "VK_ADD_DRIVER_FILES": "{0}/etc/vulkan/icd.d/driver2.json",
            "VK_LOADER_DRIVERS_DISABLE": "*lvp*,*driver0*",
        },
    ],
    ids=lambda variables: "+".join(variables) or "none",
)
def test_the_real_loader_reads_the_same_files_in_the_same_order(variables: dict, host: Path):
    compiled(host, "libnothing.so", NOTHING)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VK_", "XDG_"))}
    clean |= {name: value.format(host) for name, value in variables.items()}
    clean |= {"HOME": str(host / "home"), "LD_LIBRARY_PATH": str(host)}
    said = subprocess.run(
        [sys.executable, "-c", WHAT_THE_LOADER_READS],
        env={**clean, "VK_LOADER_DEBUG": "all"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    ).stderr
    read = [
        line.split("manifest file ")[1].split(",")[0]
        for line in said.splitlines()
        if "ICD manifest file" in line
    ]
    dropped = [line for line in said.splitlines() if "ignored because" in line]
    if not read and variables.get("VK_DRIVER_FILES") != "":
        pytest.skip("this loader does not say which files it reads")
    code = f"import sys; sys.path.insert(0, {str(PROBE.parent)!r}); import probe\n"
    code += "print(probe.as_json(probe.vulkan_files('')))"
    told = subprocess.run(
        [sys.executable, "-c", code], env=clean, stdout=subprocess.PIPE, check=True, timeout=60
    )
    files = [fact["path"] for fact in json.loads(told.stdout)["icds"]]
    expected = [path for path in read if not any(Path(path).name in line for line in dropped)]
    assert files == list(dict.fromkeys(expected))


def test_an_unreadable_driver_file_has_its_errno(tmp_path: Path):
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    path = icd(tmp_path, "secret", "libnothing.so")
    path.chmod(0o600)
    tmp_path.chmod(0o755)

    def as_nobody() -> dict:
        os.chdir(tmp_path)
        os.setuid(65534)
        return probe.icd_file(path.name)

    fact = probe.gather([probe.Job("icd", as_nobody)], 20.0)["icd"].fact()
    assert (fact["exists"], fact["readable"], fact["errno"]) == (True, False, 13)


def test_sapien_2_and_3_demand_different_things():
    features = dict.fromkeys(probe.FEATURES, 1)
    every = {*probe.EXTERNAL, "VK_EXT_extended_dynamic_state", "VK_KHR_ray_tracing_pipeline"}
    fine = {"sapien2": [], "sapien3": []}
    assert probe.what_sapien_lacks(features, every, True, "cpu", 0x10005) == fine
    without_rays = every - {"VK_KHR_ray_tracing_pipeline"}
    assert probe.what_sapien_lacks(features, without_rays, True, "discrete", probe.NVIDIA) == fine
    lacking = probe.what_sapien_lacks(features, without_rays, True, "cpu", 0x10005)
    assert lacking["sapien3"] == ["VK_KHR_ray_tracing_pipeline"]
    without_external = every - {"VK_KHR_external_semaphore_fd"}
    lacking = probe.what_sapien_lacks({**features, "wideLines": 0}, without_external, True, "cpu", 0x10005)
    assert lacking == {"sapien2": ["wideLines", "VK_KHR_external_semaphore_fd"], "sapien3": []}
    lacking = probe.what_sapien_lacks(features, without_external, False, "discrete", probe.NVIDIA)
    queue = "a queue for graphics and compute"
    assert lacking["sapien3"] == [queue, "VK_KHR_external_semaphore_fd"]


# Libraries


def test_a_missing_dependency_is_named_and_a_missing_library_is_not(tmp_path: Path):
    compiled(tmp_path, "libinner.so", NOTHING)
    needy = compiled(tmp_path, "libouter.so", NOTHING, f"-L{tmp_path}", "-Wl,--no-as-needed", "-linner")
    (tmp_path / "libinner.so").unlink()
    assert probe.load(str(needy))["missing"] == "libinner.so"
    fact = probe.load("libno_such_thing.so.3")
    assert (fact["loads"], fact["missing"]) == (False, "")
    assert fact["error"].startswith("libno_such_thing.so.3: cannot open shared object file")
    said = "Error loading shared library libz.so.1: No such file or directory (needed by /a.so)"
    assert probe.missing_in(said, "/a.so") == "libz.so.1"


def test_copies_paths_versions_and_sonames(tmp_path: Path):
    real = compiled(tmp_path / "a", "libcuda.so.570.124.06", NOTHING, "-Wl,-soname,libcuda.so.1")
    (tmp_path / "a" / "libcuda.so.1").symlink_to(real.name)
    compiled(tmp_path / "b", "libcuda.so.1", NOTHING, "-Wl,-soname,libcuda.so.1")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "libcuda.so.1").write_text("no library")
    path = ":".join(str(tmp_path / name) for name in "abc")
    libraries = run_probe("--only", "libraries", "--timeout", "20", env={"LD_LIBRARY_PATH": path})[
        "libraries"
    ]
    (fact,) = [entry for entry in libraries if entry["name"] == "libcuda.so.1"]
    assert (fact["loads"], fact["path"]) == (True, str(tmp_path / "a" / "libcuda.so.1"))
    assert fact["version"] == "570.124.06"
    assert fact["copies"][:2] == [str(tmp_path / "a" / "libcuda.so.1"), str(tmp_path / "b" / "libcuda.so.1")]
    assert probe.soname(str(real)) == "libcuda.so.1"
    assert probe.soname(__file__) is None
    assert not [entry for entry in libraries if "copies" in entry and len(entry["copies"]) < 2]


def test_the_version_of_a_bound_file_is_that_of_the_file_outside(tmp_path: Path):
    """As `apptainer --nv` binds libcuda.so.570.124.06 as libcuda.so.1."""
    real = compiled(tmp_path, "libcuda.so.570.124.06", NOTHING, "-Wl,-soname,libcuda.so.1")
    bound = tmp_path / "libs" / "libcuda.so.1"
    bound.parent.mkdir()
    bound.touch()
    if subprocess.run(["mount", "--bind", real, bound], capture_output=True).returncode:
        pytest.skip("binding needs root")
    try:
        assert probe.library_version(str(bound)) == "570.124.06"
    finally:
        subprocess.run(["umount", bound], check=True)


def test_what_libraries_print_stays_out_of_the_sheet(tmp_path: Path):
    compiled(tmp_path, "libEGL_test.so", PRINTS)
    vendor = icd(tmp_path, "vendor", str(tmp_path / "libEGL_test.so"), api_version="")
    env = {"__EGL_VENDOR_LIBRARY_FILENAMES": f"{vendor}:{tmp_path}/none.json"}
    vendors = run_probe("--only", "egl", "--timeout", "20", env=env)["egl"]["vendors"]
    assert vendors[0]["loads"]["loads"]
    assert vendors[1]["broken"] == "No such file or directory"


def test_layers_of_both_kinds_are_read(monkeypatch, tmp_path: Path):
    for kind, text in (
        ("implicit", '{"layer": {"name": "VK_LAYER_A", "library_path": "./a.so"}}'),
        (
            "explicit",
            '{"layers": [{"name": "B", "library_path": "b.so"}, {"name": "C", "component_layers": ["B"]}]}',
        ),
    ):
        folder = tmp_path / "etc" / "vulkan" / f"{kind}_layer.d"
        folder.mkdir(parents=True)
        (folder / "x.json").write_text(text)
        (folder / "y.json").write_text("{")
    layers = sorted(files_of(monkeypatch, tmp_path)["layers"], key=lambda fact: (fact["path"], fact["name"]))
    assert [(fact["kind"], fact["name"], fact["library"], bool(fact["broken"])) for fact in layers] == [
        ("explicit", "B", "b.so", False),
        ("explicit", "C", None, False),
        ("explicit", "", None, True),
        ("implicit", "VK_LAYER_A", "./a.so", False),
        ("implicit", "", None, True),
    ]
    assert layers[3]["resolved"] == str(tmp_path / "etc/vulkan/implicit_layer.d/a.so")


# NVIDIA's libraries, with their real signatures

NVML = r"""
#include <string.h>
#include <unistd.h>
typedef struct {
  char busIdLegacy[16]; unsigned domain, bus, device, pciDeviceId, pciSubSystemId; char busId[32];
} Pci;
typedef struct { unsigned long long total, free, used; } Memory;
typedef void *Device;
static int gpus[2];
int nvmlInit_v2(void) {
#ifdef CRASHES
  *(volatile int *)0 = 1;
#endif
#ifdef HANGS
  for (;;) sleep(1000);
#endif
#ifdef MISMATCH
  return 18;
#endif
  return 0;
}
const char *nvmlErrorString(int code) {
  return code == 18 ? "Driver/library version mismatch" : "GPU is lost";
}
int nvmlSystemGetDriverVersion(char *version, unsigned length) {
  strncpy(version, "570.124.06", length); return 0;
}
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
  if (index == 2) return 15;
  *device = &gpus[index]; return 0;
}
static int first(Device device) { return device == &gpus[0]; }
int nvmlDeviceGetName(Device device, char *name, unsigned length) {
  strncpy(name, "NVIDIA H100 80GB HBM3", length); return 0;
}
int nvmlDeviceGetUUID(Device device, char *uuid, unsigned length) {
  strncpy(uuid, first(device) ? "GPU-a" : "GPU-b", length); return 0;
}
int nvmlDeviceGetPciInfo_v3(Device device, Pci *pci) {
  memset(pci, 0, sizeof *pci); strcpy(pci->busIdLegacy, "0000:17:00.0");
  strcpy(pci->busId, first(device) ? "00000000:17:00.0" : "00000000:CA:00.0"); return 0;
}
int nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
  memory->total = 85520000000ull; memory->free = 80000000000ull; memory->used = 5520000000ull; return 0;
}
int nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending) {
  if (first(device)) return 3;
  *current = *pending = 1; return 0;
}
int nvmlDeviceGetComputeMode(Device device, unsigned *mode) { *mode = first(device) ? 0 : 3; return 0; }
int nvmlDeviceGetTotalEccErrors(Device device, int type, int counter, unsigned long long *count) {
  if (type != 1 || counter != 0) return 2;
  if (first(device)) return 3;
  *count = 4; return 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long *reasons) {
  *reasons = first(device) ? 0x1 : 0x48; return 0;
}
int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *degrees) { *degrees = 41; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, void *infos) {
  if (first(device)) { *count = 0; return 0; }
  *count = 2; return 7;
}
"""


def nvml_of(folder: Path, *options: str) -> Any:
    compiled(folder, "libnvidia-ml.so.1", NVML, *options, "-w")
    env = {"LD_LIBRARY_PATH": str(folder)}
    limit = "1" if "-DHANGS" in options else "20"
    return run_probe("--only", "nvml,libraries", "--timeout", limit, env=env)["nvml"]


def test_gpus_are_known_through_nvml(tmp_path: Path):
    told = nvml_of(tmp_path)
    assert (told["code"], told["error"], told["version"]) == (0, "", "570.124.06")
    first, second, lost = told["gpus"]
    assert first == {
        "index": 0,
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": "GPU-a",
        "pci": "0000:17:00.0",
        "memory_mb": 85520,
        "used_mb": 5520,
        "processes": 0,
        "mig": False,
        "compute_mode": "default",
        "ecc_errors": None,
        "throttle": [],
        "temperature_c": 41,
    }
    assert (second["pci"], second["mig"], second["compute_mode"]) == (
        "0000:ca:00.0",
        True,
        "exclusive-process",
    )
    assert (second["ecc_errors"], second["processes"]) == (4, 2)
    assert second["throttle"] == ["hw-slowdown", "hw-thermal-slowdown"]
    assert lost == {"index": 2, "code": 15, "error": "GPU is lost"}


def test_an_updated_driver_that_was_not_restarted_is_nvmls_own_error(tmp_path: Path):
    told = nvml_of(tmp_path, "-DMISMATCH")
    assert told == {"code": 18, "error": "Driver/library version mismatch", "version": None, "gpus": []}


def test_nvml_that_crashes_or_hangs_is_a_fact(tmp_path: Path):
    assert nvml_of(tmp_path / "a", "-DCRASHES") == {"failed": "signal 11", "how": "signal"}
    assert nvml_of(tmp_path / "b", "-DHANGS") == {"failed": "timeout", "how": "timeout"}


@pytest.mark.skipif(has("libnvidia-ml.so.1"), reason="this machine has NVIDIA's driver")
def test_no_nvml_is_null_and_one_that_does_not_load_is_not(tmp_path: Path):
    assert run_probe("--only", "nvml", "--timeout", "20")["nvml"] is None
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"\x7fELF\x02")
    env = {"LD_LIBRARY_PATH": str(tmp_path)}
    told = run_probe("--only", "nvml", "--timeout", "20", env=env)["nvml"]
    assert told["how"] == "error"
    assert "too short" in told["failed"]


CUDA = r"""
#include <string.h>
#include <stddef.h>
typedef int CUresult, CUdevice;
typedef struct { char bytes[16]; } CUuuid;
CUresult cuInit(unsigned flags) {
#ifdef NO_DEVICE
  return 100;
#endif
  return 0;
}
CUresult cuGetErrorName(CUresult code, const char **words) { *words = "CUDA_ERROR_NO_DEVICE"; return 0; }
CUresult cuDriverGetVersion(int *version) { *version = 12080; return 0; }
CUresult cuDeviceGetCount(int *count) { *count = 2; return 0; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  if (ordinal) return 100;
  *device = 40; return 0;
}
CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  strncpy(name, device == 40 ? "NVIDIA L40S" : "?", length); return 0;
}
CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
  for (int i = 0; i < 16; i++) uuid->bytes[i] = i * 17;
  return 0;
}
CUresult cuDeviceGetPCIBusId(char *bus, int length, CUdevice device) {
  strncpy(bus, "0000:3B:00.0", length); return 0;
}
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  if (device != 40) return 1;
  *value = attribute == 75 ? 8 : attribute == 76 ? 9 : -1; return 0;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) { *bytes = 48000000000; return 0; }
"""


def test_devices_are_known_through_cuda(tmp_path: Path):
    compiled(tmp_path, "libcuda.so.1", CUDA, "-w")
    told = run_probe("--only", "cuda", "--timeout", "20", env={"LD_LIBRARY_PATH": str(tmp_path)})["cuda"]
    assert (told["code"], told["error"], told["driver_api"]) == (0, "", [12, 8])
    assert told["devices"] == [
        {
            "ordinal": 0,
            "name": "NVIDIA L40S",
            "uuid": "GPU-00112233-4455-6677-8899-aabbccddeeff",
            "pci": "0000:3b:00.0",
            "capability": [8, 9],
            "memory_mb": 48000,
        },
        {"ordinal": 1, "error": "CUDA_ERROR_NO_DEVICE"},
    ]


def test_cuda_without_a_device_is_its_own_error(tmp_path: Path):
    compiled(tmp_path, "libcuda.so.1", CUDA, "-w", "-DNO_DEVICE")
    told = run_probe("--only", "cuda", "--timeout", "20", env={"LD_LIBRARY_PATH": str(tmp_path)})["cuda"]
    assert told == {"code": 100, "error": "CUDA_ERROR_NO_DEVICE", "driver_api": [12, 8], "devices": []}
