"""Self-test of the evaluation image, run inside of it by `apptainer test`, once in each environment.

Takes the environment's name. Holds what is installed against its lock, draws a picture whose pixels are
known beforehand (a green ball on a dark ground, upper half sky), imports the simulators and STAIR, and
writes a video. The surprise: a renderer that came up proves nothing, only its picture does.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from selftest import check_stair, check_versions, check_video  # pyright: ignore[reportMissingImports]

HOME = Path("/opt/stair")
ROOMS = (
    "stair.evaluate.evaluation",
    "stair.evaluate.film",
    "stair.evaluate.report",
    "stair.policy.remote",
    "stair.sim.tabletop",
)
"""Modules that together import everything that an evaluation needs besides its simulator."""
WIDTH, HEIGHT, FIELD = 160, 120, 1.0
"""Of the picture in pixels, and its vertical angle of view in rad."""
EYE = (-2.0, 0.0, 0.5)
"""The camera in metres, looking along x at a ball of radius 0.5 around (0, 0, 0.5)."""


def draw_with_sapien3() -> Any:
    """Float picture [H, W, 3] of SAPIEN 3, on the CPU."""
    import sapien  # pyright: ignore[reportMissingImports]

    scene = sapien.Scene([sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem(sapien.Device("cpu"))])
    camera = _furnish(scene, material=[0.0, 1.0, 0.0])
    camera.entity.set_pose(sapien.Pose(list(EYE)))
    scene.update_render()
    camera.take_picture()
    return camera.get_picture("Color")[..., :3]


def draw_with_sapien2() -> Any:
    """Float picture [H, W, 3] of SAPIEN 2, on the device that the driver list leaves."""
    import sapien.core as sapien  # pyright: ignore[reportMissingImports]

    engine = sapien.Engine()
    renderer = sapien.SapienRenderer(offscreen_only=True)
    engine.set_renderer(renderer)
    scene = engine.create_scene()
    camera = _furnish(scene, color=[0.0, 1.0, 0.0])
    camera.set_pose(sapien.Pose(list(EYE)))
    scene.update_render()
    camera.take_picture()
    return camera.get_float_texture("Color")[..., :3]


def _furnish(scene: Any, **look: Any) -> Any:
    """Ground, light, the ball and a camera; returns the camera, which sees nothing yet."""
    scene.add_ground(0)
    scene.set_ambient_light([0.4, 0.4, 0.4])
    scene.add_directional_light([1, 0, -1], [0.6, 0.6, 0.6])
    ball = scene.create_actor_builder()
    ball.add_sphere_visual(radius=0.5, **look)
    ball = ball.build_static(name="ball")
    ball.set_pose(type(ball.get_pose())([0, 0, 0.5]))
    return scene.add_camera("eye", WIDTH, HEIGHT, FIELD, 0.1, 50)


def check_picture(picture: Any) -> str:
    """The ball is green, in the middle, of the size that optics give it, and nowhere else."""
    import numpy as np

    assert picture.shape == (HEIGHT, WIDTH, 3), picture.shape
    assert np.isfinite(picture).all()
    assert picture.std() > 0.02, f"the picture is constant: {picture.reshape(-1, 3)[0]}"
    red, green, blue = np.moveaxis(picture, -1, 0)
    ball = (green > 0.15) & (green > 2 * red) & (green > 2 * blue)
    assert ball[HEIGHT // 2, WIDTH // 2], f"no ball in the middle: {picture[HEIGHT // 2, WIDTH // 2]}"
    assert not ball[:, :20].any()
    assert not ball[:, -20:].any()
    # sin(half its angle) = 0.5 m / 2 m, seen with focal length HEIGHT / 2 / tan(FIELD / 2)
    radius = np.tan(np.arcsin(0.25)) * HEIGHT / 2 / np.tan(FIELD / 2)
    size = ball.sum() / (np.pi * radius**2)
    assert 0.8 < size < 1.1, f"the ball has {size:.2f} of its area"
    return f"picture std {picture.std():.3f}, ball {size:.2f}"


def check_simulators(environment: str) -> str:
    """What is imported for a task beyond the renderer."""
    if environment == "ms3":
        import mani_skill.envs  # noqa: F401  # pyright: ignore[reportMissingImports]

        return "mani_skill imports"
    if not (HOME / "simpler" / "SimplerEnv").is_dir():
        return "no SimplerEnv"
    import simpler_env  # pyright: ignore[reportMissingImports]

    assert len(simpler_env.ENVIRONMENTS) >= 25, simpler_env.ENVIRONMENTS
    return "SimplerEnv imports"


def main() -> None:
    started = time.monotonic()
    environment = sys.argv[1]
    pins = check_versions(HOME / "locks" / f"{environment}.lock")
    picture = draw_with_sapien3() if environment == "ms3" else draw_with_sapien2()
    facts = [check_picture(picture), check_simulators(environment), check_stair(ROOMS), check_video("cpu")]
    variant, python = os.environ["STAIR_IMAGE_VARIANT"], sys.version.split()[0]
    print(f"selftest ok: {variant} {environment}, python {python}, {pins} locked packages,", end=" ")
    print(", ".join(facts), f"{time.monotonic() - started:.1f} s", sep=", ", flush=True)


if __name__ == "__main__":
    main()
