"""One small picture, drawn in a process of its own, before anything depends on drawing.

Takes the choice of a driver, hands on what drew and how varied the picture is. A driver that does not fit
may raise, kill its process or never answer: all three are normal here and end in a CannotDraw.
`python -m stair.sim.preflight nvidia|cpu` draws in this process and prints the Picture as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from stair.errors import StairError
from stair.sim.render import CannotDraw, check_devices, choose_driver, devices_of_sapien3

LEAST_SPREAD = 0.02
"""Standard deviation of the colours, in [0, 1], below which a picture counts as constant; ours has 0.2."""


@dataclass(frozen=True)
class Picture:
    """What came out."""

    devices: tuple[str, ...]
    """Those that could have drawn it; SAPIEN 2 does not tell."""
    spread: float
    """Standard deviation of its colours, which are in [0, 1]."""


def preflight(choice: str, timeout_s: float = 300.0) -> Picture:
    """Draws in a child. Raises CannotDraw when no varied picture comes back in time.

    It takes 5 s where nothing else happens, and over a minute on a node that is full.
    """
    command = [sys.executable, "-W", "ignore", "-m", "stair.sim.preflight", choice]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise CannotDraw(
            f"drawing one small picture on '{choice}' did not end within {timeout_s:g} s", hint=_HINT
        ) from None
    return read_answer(choice, done.returncode, done.stdout, done.stderr)


_HINT = "stair-doctor says what is wrong with Vulkan here; try another node, or --render cpu"


def read_answer(choice: str, code: int, out: str, err: str) -> Picture:
    """The picture that a child spoke of; pure. Raises CannotDraw with its last words."""
    words = (err.strip().splitlines() or ["it said nothing"])[-1].strip()
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        raise CannotDraw(f"drawing on '{choice}' died of {name}; its last words: {words}", hint=_HINT)
    try:
        said = json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise CannotDraw(f"nothing could be drawn on '{choice}': {words}", hint=_HINT) from None
    if "error" in said:
        raise CannotDraw(said["error"], hint=said["hint"])
    picture = Picture(tuple(said["devices"]), float(said["spread"]))
    if picture.devices:
        check_devices(choice, picture.devices)
    if not picture.spread > LEAST_SPREAD:  # a NaN is no picture either
        raise CannotDraw(f"the picture drawn on '{choice}' is constant", hint=_HINT)
    return picture


def draw(choice: str) -> Picture:
    """A lit box on a ground, drawn here with the SAPIEN that is installed."""
    devices, pixels = take_picture(choice)
    return Picture(devices, float(pixels.std()))


def take_picture(choice: str, width: int = 64, height: int = 48) -> tuple[tuple[str, ...], Any]:
    """The devices that could have drawn it, as in `Picture`, and the picture: floats [height, width, 3]."""
    choice = choose_driver(choice)
    import sapien  # pyright: ignore[reportMissingImports]

    if sapien.__version__.startswith("2."):
        return (), _draw_with_sapien2(width, height)
    return devices_of_sapien3(), _draw_with_sapien3(choice, width, height)


def _draw_with_sapien3(choice: str, width: int, height: int) -> Any:
    import sapien  # pyright: ignore[reportMissingImports]

    device = sapien.Device("cpu" if choice == "cpu" else "cuda")
    scene = sapien.Scene([sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem(device)])
    camera = _furnish(scene, width, height, material=[1.0, 0.2, 0.0])
    camera.entity.set_pose(sapien.Pose([-2, 0, 0.5]))
    scene.step()
    scene.update_render()
    camera.take_picture()
    return camera.get_picture("Color")[..., :3]


def _draw_with_sapien2(width: int, height: int) -> Any:
    import sapien.core as sapien  # pyright: ignore[reportMissingImports]

    engine = sapien.Engine()
    renderer = sapien.SapienRenderer(offscreen_only=True)
    engine.set_renderer(renderer)
    scene = engine.create_scene()
    camera = _furnish(scene, width, height, color=[1.0, 0.2, 0.0])
    camera.set_pose(sapien.Pose([-2, 0, 0.5]))
    scene.step()
    scene.update_render()
    camera.take_picture()
    return camera.get_float_texture("Color")[..., :3]


def _furnish(scene: Any, width: int, height: int, **look: Any) -> Any:
    """Ground, light, a box and the camera, which sees nothing yet."""
    scene.add_ground(0)
    scene.set_ambient_light([0.4, 0.4, 0.4])
    scene.add_directional_light([1, 0, -1], [0.6, 0.6, 0.6])
    builder = scene.create_actor_builder()
    builder.add_box_visual(half_size=[0.4, 0.4, 0.4], **look)
    builder.build_static(name="box")
    return scene.add_camera("eye", width, height, 1.0, 0.1, 50)


def main() -> None:
    try:
        print(json.dumps(asdict(draw(sys.argv[1]))), flush=True)
    except StairError as error:
        print(json.dumps({"error": error.what, "hint": error.hint}), flush=True)
    # Some drivers crash when they are unloaded, after the picture was good.
    os._exit(0)


if __name__ == "__main__":
    main()
