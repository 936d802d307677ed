"""A `.pt` is read as tensors, and what is none is refused by what it is."""

import pickle

import pytest
import torch

from stair.errors import StairError
from stair.models.formats.torch_file import kind_of, open_torch_file

TREE = {"model": {"projector": {"projector.0.weight": torch.arange(6.0).view(2, 3)}}, "step": 3}


@pytest.fixture
def file(tmp_path):
    torch.save(TREE, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_tensors_have_their_keys_shapes_and_values(file):
    tensors = open_torch_file(file)
    assert list(tensors) == ["projector.projector.0.weight"]
    stored = tensors["projector.projector.0.weight"]
    assert (stored.shape, stored.dtype, stored.size) == ((2, 3), "float32", 24)
    assert torch.equal(stored.read(), TREE["model"]["projector"]["projector.0.weight"])


@pytest.mark.parametrize(
    "tree",
    [
        {"model": {"vlm.projector": {"projector.0.weight": torch.ones(1)}}},
        {"model": {"module.projector.projector.0.weight": torch.ones(1)}},
        {"vlm.projector.projector.0.weight": torch.ones(1)},
        {"projector": {"projector": {"0": {"weight": torch.ones(1)}}}},
    ],
)
def test_nested_flat_and_wrapped_forms_mean_the_same(tmp_path, tree):
    torch.save(tree, tmp_path / "a.pt")
    assert list(open_torch_file(tmp_path / "a.pt")) == ["projector.projector.0.weight"]


def test_two_keys_that_mean_one_tensor_are_refused(tmp_path):
    torch.save({"vlm.a.b": torch.ones(1), "a.b": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(StairError, match=r"a\.b twice"):
        open_torch_file(tmp_path / "a.pt")


def test_a_truncated_file_is_refused_as_cut_off(file):
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(StairError, match=r"bytes\) begins as a torch file and has no end") as caught:
        open_torch_file(file)
    assert "fetch-weights" in caught.value.hint


def test_a_safetensors_file_under_this_name_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(StairError, match="is a safetensors file"):
        open_torch_file(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "pointer"),
        (b"<!doctype html><html>Sign in</html>", "page"),
        (b'{"error": "Invalid username or password."}', "page"),
        (b"", "empty"),
        (pickle.dumps({"a": 1}), "pickle"),
        (b"\x00" * 99, "unknown"),
    ],
)
def test_other_files_are_told_by_their_bytes(tmp_path, content, kind):
    (tmp_path / "a.pt").write_bytes(content)
    assert kind_of(tmp_path / "a.pt") == kind
    with pytest.raises(StairError) as caught:
        open_torch_file(tmp_path / "a.pt")
    assert caught.value.hint


class Opened:
    """Would run code when it is unpickled."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_a_file_that_would_run_code_is_refused_unopened(tmp_path, capsys):
    torch.save({"model": {"a": torch.ones(1)}, "x": Opened()}, tmp_path / "a.pt")
    with pytest.raises(StairError, match="more than tensors"):
        open_torch_file(tmp_path / "a.pt")
    assert "unpickled" not in capsys.readouterr().out


def test_a_file_without_tensors_is_refused(tmp_path):
    torch.save({"model": {}, "global_step": 3}, tmp_path / "a.pt")
    with pytest.raises(StairError, match="no tensors"):
        open_torch_file(tmp_path / "a.pt")
