"""A real image for tests: found in build/, or built there where it is missing or of other locks.

Takes an Order without base and output, hands on a BakedImage, or skips with the reason.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from containers.bake import CHECKOUT, bake
from containers.machine import find_apptainer, pip_listing
from containers.order import Order, lock_digest
from containers.packages import read_settings
from stair.cluster.image import inspect_image
from stair.errors import StairError


@dataclass(frozen=True)
class BakedImage:
    """The image, and the Apptainer that runs it."""

    path: Path
    apptainer: Path
    order: Order

    def run(
        self,
        *argv: str,
        options: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        command: str = "exec",
        timeout_s: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """A command in the image under --containall --cleanenv; `env` is the host's besides its own."""
        words = [str(self.apptainer), command, "--containall", "--cleanenv", *options, str(self.path), *argv]
        variables = {**os.environ, **(env or {})}
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, env=variables)

    def says(self, *argv: str, options: tuple[str, ...] = (), env: dict[str, str] | None = None) -> str:
        """What a command prints in the image; it has to succeed."""
        done = self.run(*argv, options=options, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def output_of(order: Order) -> Path:
    """Where an order's image lies."""
    return CHECKOUT / "build" / order.file_name


def is_there(order: Order) -> bool:
    """Whether the image of an order lies in build/, made of the same locks."""
    return inspect_image(output_of(order)).labels.get("stair.lock_sha256") == lock_digest(order)


def baked_image(order: Order) -> BakedImage:
    """Skips with the reason where there is no Apptainer or the image cannot be built."""
    try:
        return bake_if_needed(order)
    except StairError as error:
        pytest.skip(f"no {order.kind} image: {error}")


def bake_if_needed(order: Order) -> BakedImage:
    """The image of an order, built unless it is there. Raises StairError where it cannot be built."""
    base = "debian" if shutil.which("mmdebstrap") and shutil.which("apt-get") else "registry"
    order = replace(order, base=base, output=output_of(order), force=True)
    apptainer = find_apptainer(os.environ)
    with alone(CHECKOUT / "build" / f".{order.kind}-image.lock"):
        if not is_there(order):
            bake(order, os.environ)
    return BakedImage(order.output, apptainer, order)


def addresses_of_this_machine() -> str:
    """A pattern of every host that apt and pip are configured to ask, and of this machine's own folders."""
    apt = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=False
    ).stdout
    settings = " ".join(read_settings(pip_listing()).values())
    hosts = set(re.findall(r"\w+://([^/\s]+)", f"{apt} {settings}"))
    words = [*sorted(hosts), str(Path.home()), str(CHECKOUT)]
    return "|".join(re.escape(word) for word in words if word not in ("/", "/root"))


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process of the machine at a time: the workers of pytest-xdist wait for the first one's build."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
