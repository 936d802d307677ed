"""The real evaluation image, as a job uses it: read-only, without a home, in an environment of its own."""

from __future__ import annotations

import json
import platform
import re

import pytest

from containers.bake import CHECKOUT
from containers.order import ENVIRONMENTS, HERE, lock_digest, lock_pins
from containers.sources import REPOSITORIES
from stair.cluster.image import check_image, inspect_image
from tests.containers.baked import addresses_of_this_machine
from tests.containers.eval_image import EvalImage

NO_HOME = ("--no-home", "--pwd", "/")
ICD = "/opt/stair/icd"
NVIDIA_ONLY = (
    *("--env", f"VK_DRIVER_FILES={ICD}/nvidia_icd.json"),
    *("--env", f"VK_ICD_FILENAMES={ICD}/nvidia_icd.json"),
    *("--env", f"__EGL_VENDOR_LIBRARY_FILENAMES={ICD}/10_nvidia.json"),
)


def pythons(image: EvalImage) -> list[str]:
    return [f"/opt/stair/{name}/bin/python" for name in ENVIRONMENTS[image.order.variant]]


def test_every_environment_draws_what_it_should_where_there_is_no_home(eval_image: EvalImage):
    done = eval_image.run(command="test", options=NO_HOME, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ENVIRONMENTS[eval_image.order.variant]:
        found = re.search(
            rf"selftest ok: \w+ {name}, python 3\.11.*picture std (\S+), ball (\S+),", done.stdout
        )
        assert found, done.stdout
        assert float(found[1]) > 0.02


def test_the_self_test_notices_a_constant_picture(eval_image: EvalImage):
    code = "import numpy, selftest_eval as s; s.check_picture(numpy.full((120, 160, 3), 0.5))"
    done = eval_image.run("sh", "-c", f"cd /opt/stair && python -c '{code}'")
    assert done.returncode
    assert "the picture is constant" in done.stderr


def test_labels_say_what_it_is(eval_image: EvalImage):
    facts = inspect_image(eval_image.path)
    labels, variant = facts.labels, eval_image.order.variant
    assert (facts.kind, facts.variant) == ("eval", variant)
    assert labels["stair.lock_sha256"] == lock_digest(eval_image.order)
    assert facts.torch == lock_pins(eval_image.order.locks["locks/ms3.lock"].read_text())["torch"]
    assert facts.python.startswith("3.11.")
    assert int(labels["stair.mesa"].split(".")[0]) >= 26
    for repository in REPOSITORIES:
        assert labels[f"stair.{repository.argument}"] in (repository.commit, "absent")
    assert re.fullmatch(r"([0-9a-f]{40}|unknown)(-dirty)?", labels["stair.commit"])
    assert check_image(facts, machine=platform.machine(), kind="eval") == []
    assert check_image(facts, machine=platform.machine(), kind="train")


def test_it_draws_on_the_cpu_unless_told_and_then_never_secretly_so(eval_image: EvalImage):
    told = eval_image.says("vulkaninfo", "--summary")
    assert "llvmpipe" in told
    assert re.search(r"driverInfo\s+= Mesa (2[6-9]|[3-9]\d)\.", told)
    done = eval_image.run("vulkaninfo", "--summary", options=NVIDIA_ONLY)  # no --nv: nothing to find
    assert done.returncode
    assert "llvmpipe" not in done.stdout


def test_the_driver_lists_are_where_launchers_look_for_them(eval_image: EvalImage):
    names = ("lvp_icd.json", "nvidia_icd.json", "50_mesa.json", "10_nvidia.json")
    assert set(names) == set(eval_image.says("ls", ICD).split())
    lists = {name: json.loads(eval_image.says("cat", f"{ICD}/{name}"))["ICD"] for name in names}
    for name in ("lvp_icd.json", "50_mesa.json"):
        library = lists[name]["library_path"]
        assert eval_image.says("sh", "-c", f"ls {library} /usr/lib/*/{library} 2>/dev/null || true"), name
    assert lists["nvidia_icd.json"]["library_path"] == "libGLX_nvidia.so.0"
    assert lists["10_nvidia.json"]["library_path"] == "libEGL_nvidia.so.0"
    # the loader skips a list without a version, and hides features from one that says 1.0
    assert lists["nvidia_icd.json"]["api_version"] >= "1.2"


def test_no_library_of_nvidias_driver_is_inside(eval_image: EvalImage):
    names = ("libGLX_nvidia*", "libEGL_nvidia*", "libnvidia-*", "libcuda.so*", "libnvoptix*", "libcudart*")
    either = " -o ".join(f"-name '{name}'" for name in names)
    command = f"find / -xdev -not -path '/proc/*' \\( {either} \\) -print"
    assert eval_image.says("sh", "-c", command) == ""
    # but what --nv brings is linked against these
    for name in ("libX11.so.6", "libXext.so.6", "libGL.so.1", "libEGL.so.1", "libvulkan.so.1"):
        eval_image.says("python", "-c", f"import ctypes; ctypes.CDLL('{name}')", options=NO_HOME)


def test_an_evaluation_starts_in_every_environment_from_a_bound_snapshot(eval_image: EvalImage):
    bind = ("--bind", f"{CHECKOUT / 'stair'}:/opt/stair/src/stair:ro", *NO_HOME)
    rooms = "stair.evaluate.evaluation, stair.evaluate.film, stair.policy.remote, stair.sim.tabletop"
    for python in pythons(eval_image):
        assert "--policy" in eval_image.says(python, "-m", "stair.evaluate", "--help", options=bind)
        code = f"import sys, {rooms}; print('torch' in sys.modules)"
        assert eval_image.says(python, "-c", code, options=bind) == "False"


def test_nothing_of_the_hosts_variables_gets_in(eval_image: EvalImage):
    leaks = {"VK_DRIVER_FILES": "/leak", "PYTHONPATH": "/leak", "DISPLAY": ":leak", "STAIR_LEAK": "1"}
    lines = eval_image.says("env", env=leaks).splitlines()
    assert not [line for line in lines if "leak" in line.lower()]
    assert {f"VK_DRIVER_FILES={ICD}/lvp_icd.json", f"VK_ICD_FILENAMES={ICD}/lvp_icd.json"} <= set(lines)
    assert {f"__EGL_VENDOR_LIBRARY_FILENAMES={ICD}/50_mesa.json", "STAIR_IMAGE_KIND=eval"} <= set(lines)


def test_no_configuration_of_pip_and_no_address_of_this_machine_is_left(eval_image: EvalImage):
    find = "find / -xdev ( -name pip.conf -o -name ca.crt -o -name direct_url.json ) -not -path /proc/*"
    assert eval_image.says(*find.split()) == ""
    assert eval_image.says("ls", "-A", "/mnt") == ""
    freezes = (f"/opt/stair/{name}.freeze.txt" for name in ENVIRONMENTS[eval_image.order.variant])
    places = ("/etc", "/.singularity.d", "/opt/stair/locks", *freezes, "/var/lib/dpkg/status")
    grep = 'grep -rlE -e "$0" "$@" || true'
    assert eval_image.says("sh", "-c", grep, addresses_of_this_machine(), *places) == ""
    left = set(eval_image.says("ls", "-A", "/opt/stair").split())
    assert not left & {"tmp", ".git"}


def test_its_size_is_that_of_an_image_one_likes_to_copy(eval_image: EvalImage):
    assert eval_image.path.stat().st_size < 1.2e9


def test_simpler_env_is_inside_where_its_sources_were_at_hand(eval_image: EvalImage):
    labels = inspect_image(eval_image.path).labels
    inside = set(eval_image.says("ls", "-A", "/opt/stair/simpler").split())
    if labels["stair.simpler_env"] == "absent":
        assert inside == set()
        assert labels["stair.real2sim"] == "absent"
        return
    assert inside == {"SimplerEnv", "ManiSkill2_real2sim"}
    code = "import simpler_env, mani_skill2_real2sim.envs; print(*simpler_env.ENVIRONMENTS)"
    names = eval_image.says("/opt/stair/sapien2/bin/python", "-W", "ignore", "-c", code, options=NO_HOME)
    assert "widowx_carrot_on_plate" in names.split()


@pytest.mark.parametrize("name", ["nvidia_icd.json", "10_nvidia.json"])
def test_our_driver_lists_are_whole_json(name: str):
    assert set(json.loads((HERE / "icd" / name).read_text())) == {"file_format_version", "ICD"}
