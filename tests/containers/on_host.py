"""`python -m tests.containers.on_host IMAGE`: what a worker starts here with `--nv`, and what that sees.

Prints two lines of JSON: the start itself with what is told of it, and what LOOK finds in the image. Run on a
host of tests/containers/host_trees.py, that is in a mount namespace where such a tree lies over the real one.
"""

from __future__ import annotations

import json
import os
import sys

from containers.bake import CHECKOUT
from stair.cluster.container import Bind, ContainerConfig, in_container, runtime_environment
from stair.cluster.graphics import on_this_node

LOOK = """
import ctypes, json, os, subprocess, sys
from dataclasses import replace

def devices():
    vulkan = ctypes.CDLL("libvulkan.so.1")
    instance, count, found = ctypes.c_void_p(), ctypes.c_uint32(16), (ctypes.c_void_p * 16)()
    code = vulkan.vkCreateInstance((ctypes.c_uint64 * 8)(1), None, ctypes.byref(instance))
    if code:
        return [f"vkCreateInstance {code}"]
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), found)
    properties, names = (ctypes.c_ubyte * 4096)(), []
    for device in found[: count.value]:
        vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(device), properties)
        names.append(bytes(properties)[20:276].split(b"\\0")[0].decode())
    return names

if "devices" in sys.argv:
    print(json.dumps(devices()))
else:
    from stair.sim.render import drawing_variables, look_at_host

    def child(without):
        kept = {name: value for name, value in os.environ.items() if name not in without}
        words = [sys.executable, "-c", sys.argv[1], "", "devices"]
        kept["VK_LOADER_DEBUG"] = "error,warn"
        done = subprocess.run(words, env=kept, capture_output=True, text=True)
        return json.loads(done.stdout or "[]"), done.stderr

    names = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES", "LD_LIBRARY_PATH")
    found, said = child(())
    host = replace(look_at_host(os.environ), gpus=("/dev/nvidia0",), visible=None)
    print(json.dumps({
        "devices": found,
        "said": said,
        "unpinned": child(names[:2])[0],
        "variables": {name: os.environ.get(name) for name in names},
        "chosen": drawing_variables("nvidia", host),
    }))
"""


def main(image: str) -> None:
    """Replaces this process by the image's, with all that a worker would give it."""
    source = Bind(str(CHECKOUT / "stair"), "/opt/stair/src/stair", read_only=True)
    look = ("python", "-c", LOOK, LOOK)
    argv = in_container(look, image, ContainerConfig(), folders=[source], gpus=True)
    environment = runtime_environment(os.environ, ("CUDA_VISIBLE_DEVICES",), {})
    argv, environment, notes = on_this_node(argv, environment)
    print(json.dumps({"argv": argv, "notes": notes}), flush=True)
    os.execvpe(argv[0], argv, environment)


if __name__ == "__main__":
    main(sys.argv[1])
