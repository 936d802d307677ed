import re
from dataclasses import replace
from pathlib import Path

import pytest

from containers.order import (
    HERE,
    PACKAGES,
    SPACE,
    SQUASH,
    Order,
    Origin,
    build_arguments,
    check_lock,
    lock_digest,
)
from containers.order import lock_pins as pins

LOCKS = sorted((HERE / "locks").glob("*.lock"))
ORIGIN = Origin("0.1.0", "abc-dirty", "2026-01-01T00:00:00Z")
HASH = "--hash=sha256:" + "0" * 64


def definition() -> str:
    return (HERE / "train.def").read_text()


def section(name: str) -> str:
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", definition(), flags=re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


def test_the_arguments_are_those_of_the_definition_each_used_and_declared():
    given = set(build_arguments(Order(), ORIGIN, bootstrap="docker", base="debian:bookworm-slim"))
    declared = set(re.findall(r"^    (\w+)=", section("arguments"), flags=re.MULTILINE))
    used = set(re.findall(r"\{\{ (\w+) \}\}", definition()))
    assert given == declared == used


def test_arguments_name_no_path_of_the_machine():
    values = build_arguments(Order(), ORIGIN, bootstrap="localimage", base="bookworm-0123").values()
    assert not [value for value in values if value.startswith("/")]


def test_every_label_that_the_host_side_reads_is_written():
    written = set(re.findall(r"stair\.\w+", section("labels") + section("post").split("echo")[0]))
    written |= set(re.findall(r'echo "(stair\.\w+)', section("post")))
    assert written == {
        f"stair.{name}"
        for name in (
            *("kind", "variant", "version", "commit", "lock_sha256", "attention", "date"),
            *("python", "torch"),
        )
    }


def test_the_definition_names_no_host():
    assert not re.search(r"\w+://|\b[\w-]+\.(com|org|io|net|internal)\b", definition())


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_pinned_and_hashed_packages_and_no_places(path: Path):
    assert check_lock(path.read_text()) == []


def test_every_choice_has_its_lock_space_and_packages():
    for variant in ("cuda", "cpu"):
        order = Order(variant=variant)
        assert "torch" in pins(order.lock.read_text())
        assert SPACE[variant].work > SPACE[variant].target > 0
        assert set(PACKAGES["cpu"]) <= set(PACKAGES[variant])
    for attention in ("none", "flash-attn", "xformers"):
        assert Order(attention=attention).attention_lock in LOCKS
    assert set(SQUASH) == {"zstd", "gzip"}


def test_locks_hold_what_the_project_asks_for():
    packages = {variant: pins(Order(variant=variant).lock.read_text()) for variant in ("cpu", "cuda")}
    assert packages["cpu"]["torch"] == "2.13.0+cpu"
    assert packages["cuda"]["torch"] == "2.8.0"
    assert packages["cuda"]["torchcodec"] == "0.7.0"
    project = (HERE.parent / "pyproject.toml").read_text()
    base = re.search(r"^dependencies = \[(.*?)\]", project, flags=re.MULTILINE | re.DOTALL)
    extras = re.findall(r"^(?:train|sim) = \[(.*?)\]\n", project, flags=re.MULTILINE | re.DOTALL)
    assert base
    assert len(extras) == 2
    wanted = set(re.findall(r'"([a-z0-9-]+)', " ".join([base[1], *extras])))
    assert len(wanted) > 12
    for names in packages.values():
        assert wanted <= set(names)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"a==1 {HASH}\n", None),
        (f"a==1 \\\n    {HASH}\n    # via b\n", None),
        ("# only a remark\n\n", None),
        ("a==1\n", "no sha256"),
        ("a==1 --hash=sha256:abc\n", "no sha256"),
        (f"a>=1 {HASH}\n", "no pinned"),
        (f"a {HASH}\n", "no pinned"),
        (f"--index-url https://host/simple\na==1 {HASH}", "names a place"),
        (f"a @ file:///wheels/a.whl {HASH}", "names a place"),
        (f"./a.whl {HASH}", "names a place"),
        ("--find-links /wheels", "names a place"),
    ],
)
def test_what_a_lock_must_not_hold(text: str, problem: str | None):
    found = check_lock(text)
    assert any(problem in line for line in found) if problem else found == []


def test_the_lock_digest_sees_both_locks():
    digests = {
        lock_digest(order)
        for order in (
            Order(),
            Order(variant="cpu"),
            Order(attention="xformers"),
            replace(Order(), force=True),
        )
    }
    assert len(digests) == 3
