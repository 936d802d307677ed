import re
from dataclasses import replace
from pathlib import Path

import pytest

from containers.order import (
    DEBIAN,
    HERE,
    SPACE,
    SQUASH,
    VARIANTS,
    Order,
    Origin,
    build_arguments,
    check_lock,
    lock_digest,
)
from containers.order import lock_pins as pins
from containers.sources import none_fetched

LOCKS = sorted((HERE / "locks").glob("*.lock"))
ORIGIN = Origin("0.1.0", "abc-dirty", "2026-01-01T00:00:00Z")
HASH = "--hash=sha256:" + "0" * 64


TRAIN, EVAL = Order(), Order(variant="full")
BOTH = pytest.mark.parametrize("order", [TRAIN, EVAL], ids=lambda order: order.kind)


def section(order: Order, name: str) -> str:
    text = order.definition.read_text()
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


def arguments(order: Order, base: str = "debian:bookworm-slim") -> dict[str, str]:
    return build_arguments(order, ORIGIN, bootstrap="docker", base=base, sources=none_fetched())


@BOTH
def test_the_arguments_are_those_of_the_definition_each_used_and_declared(order: Order):
    given = set(arguments(order))
    declared = set(re.findall(r"^    (\w+)=", section(order, "arguments"), flags=re.MULTILINE))
    used = set(re.findall(r"\{\{ (\w+) \}\}", order.definition.read_text()))
    assert given == declared == used


@BOTH
def test_arguments_name_no_path_of_the_machine(order: Order):
    assert not [value for value in arguments(order, "bookworm-0123").values() if value.startswith("/")]


@BOTH
def test_every_file_that_a_definition_copies_is_laid_beside_it(order: Order):
    copied = {line.split()[0] for line in section(order, "files").strip().splitlines()}
    laid = {name.split("/")[0] for name in order.copies} - {order.definition.name}
    assert copied - {"stair", "simpler"} == laid
    assert all(path.exists() for path in order.copies.values())


@pytest.mark.parametrize(
    ("order", "own"),
    [(TRAIN, {"attention"}), (EVAL, {"simpler_env", "real2sim", "mesa"})],
    ids=["train", "eval"],
)
def test_every_label_that_the_host_side_reads_is_written(order: Order, own: set[str]):
    written = set(re.findall(r"stair\.(\w+)", section(order, "labels")))
    written |= set(re.findall(r'echo "stair\.(\w+)', section(order, "post")))
    common = {"kind", "variant", "version", "commit", "lock_sha256", "date", "python", "torch"}
    assert written == common | own


@BOTH
def test_the_definition_names_no_host(order: Order):
    text = order.definition.read_text()
    assert not re.search(r"\w+://|\b[\w-]+\.(com|org|io|net|internal)\b", text)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_pinned_and_hashed_packages_and_no_places(path: Path):
    assert check_lock(path.read_text()) == []


def test_every_choice_has_its_locks_space_and_packages():
    for kind, variants in VARIANTS.items():
        for variant in variants:
            order = Order(variant=variant)
            assert order.kind == kind
            assert any("torch" in pins(path.read_text()) for path in order.locks.values())
            assert SPACE[variant].work > SPACE[variant].target > 0
            assert "ca-certificates" in DEBIAN[variant].packages
    for attention in ("none", "flash-attn", "xformers"):
        assert Order(attention=attention).locks["attention.lock"] in LOCKS
    assert set(SQUASH) == {"zstd", "gzip"}


def test_what_an_image_is_called_and_pulled_from():
    assert Order(variant="cpu").file_name == "stair-train-cpu.sif"
    assert EVAL.file_name == "stair-eval.sif"
    assert Order(variant="ms3").file_name == "stair-eval-ms3.sif"
    assert TRAIN.pulled == "debian:bookworm-slim"
    assert EVAL.pulled == "debian:trixie-slim"
    assert replace(EVAL, source_image="mine:1").pulled == "mine:1"


def asked_for(*parts: str) -> set[str]:
    """Names that pyproject.toml lists under `dependencies` or an extra."""
    project = (HERE.parent / "pyproject.toml").read_text()
    names: set[str] = set()
    for part in parts:
        found = re.search(rf"^{part} = \[(.*?)\]\n", project, flags=re.MULTILINE | re.DOTALL)
        assert found, part
        names |= set(re.findall(r'"([a-z0-9-]+)', found[1]))
    return names


def test_train_locks_hold_what_the_project_asks_for():
    cpu = pins(Order(variant="cpu").locks["train.lock"].read_text())
    cuda = pins(Order(variant="cuda").locks["train.lock"].read_text())
    assert cpu["torch"] == "2.13.0+cpu"
    assert cuda["torch"] == "2.8.0"
    assert cuda["torchcodec"] == "0.7.0"
    wanted = asked_for("dependencies", "train", "sim")
    assert len(wanted) > 12
    assert wanted <= set(cpu)
    assert wanted <= set(cuda)


def test_eval_locks_hold_the_simulators_and_what_an_evaluation_imports():
    ms3, sapien2 = (pins(EVAL.locks[f"locks/{name}.lock"].read_text()) for name in ("ms3", "sapien2"))
    assert (ms3["mani-skill"], ms3["sapien"][0], ms3["torch"]) == ("3.0.1", "3", "2.13.0+cpu")
    assert (sapien2["sapien"], sapien2["numpy"][0]) == ("2.2.2", "1")
    assert int(sapien2["setuptools"].split(".")[0]) < 81  # SAPIEN 2 imports pkg_resources
    assert "torch" not in sapien2
    wanted = asked_for("dependencies", "sim") - {"submitit"}  # which only the host sends jobs with
    assert wanted <= set(ms3)
    assert wanted <= set(sapien2)
    for package in {*ms3, *sapien2}:  # none of NVIDIA's libraries; the one package only asks the driver
        assert not package.startswith("nvidia") or package == "nvidia-ml-py"


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


def test_the_lock_digest_sees_every_lock():
    digests = {
        lock_digest(order)
        for order in (
            Order(),
            Order(variant="cpu"),
            Order(attention="xformers"),
            EVAL,
            Order(variant="ms3"),
            replace(Order(), force=True),
        )
    }
    assert len(digests) == 5
