"""Drawing may raise, crash, hang or give a constant picture; each is told as what it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stair.sim.preflight import preflight, read_answer
from stair.sim.render import CannotDraw

DREW = {"devices": ["llvmpipe (LLVM 15.0.6, 256 bits)"], "spread": 0.13}


def test_a_varied_picture_is_handed_on():
    picture = read_answer("cpu", 0, "noise\n" + json.dumps(DREW) + "\n", "")
    assert (picture.devices[0][:8], picture.spread) == ("llvmpipe", 0.13)


@pytest.mark.parametrize(
    ("choice", "code", "out", "err", "says"),
    [
        ("cpu", -11, "", "Vulkan is incompatible with your driver", "SIGSEGV; its last words: Vulkan is"),
        ("cpu", 1, "", "Traceback\nRuntimeError: failed to find a rendering device", "rendering device"),
        ("cpu", 0, json.dumps({**DREW, "spread": 6e-8}), "", "constant"),
        ("cpu", 0, json.dumps({**DREW, "spread": float("nan")}), "", "constant"),
        ("nvidia", 0, json.dumps(DREW), "", "'llvmpipe"),
        ("nvidia", 0, json.dumps({"error": "no GPU", "hint": "elsewhere"}), "", "no GPU"),
    ],
)
def test_whatever_goes_wrong_is_named(choice: str, code: int, out: str, err: str, says: str):
    with pytest.raises(CannotDraw) as caught:
        read_answer(choice, code, out, err)
    assert says in caught.value.what
    assert caught.value.hint


def test_a_hang_ends_at_the_time_limit(tmp_path: Path, monkeypatch):
    hangs = tmp_path / "python"
    hangs.write_text("#!/bin/sh\nexec sleep 600\n")
    hangs.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hangs))
    with pytest.raises(CannotDraw, match=r"did not end within 0.01 s"):
        preflight("cpu", timeout_s=0.01)
