"""Shards: dealt out in order, found by their index, refused when one is missing or short."""

import json

import pytest
import torch

from stair.errors import StairError
from stair.models.formats.safetensors_files import INDEX, open_safetensors, split, write_safetensors
from stair.models.formats.stored import Stored

TENSORS = {f"part.{n}": torch.full((10,), float(n)) for n in range(5)}


def write(folder, shard_bytes):
    folder.mkdir()
    stored = {key: Stored.of(tensor) for key, tensor in TENSORS.items()}
    told = []
    write_safetensors(folder, stored, shard_bytes=shard_bytes, told=told.append)
    return told


def test_keys_are_dealt_in_order_and_no_shard_is_larger_than_allowed():
    sizes = {"a": 4, "b": 4, "c": 9, "d": 1, "e": 3}
    assert split(sizes, 8) == [["a", "b"], ["c"], ["d", "e"]]
    assert split(sizes, 100) == [["a", "b", "c", "d", "e"]]
    assert split({}, 8) == [[]]


@pytest.mark.parametrize(("shard_bytes", "files"), [(1000, 1), (80, 3), (1, 5)])
def test_what_is_written_is_read_again_in_any_number_of_shards(tmp_path, shard_bytes, files):
    told = write(tmp_path / "m", shard_bytes)
    assert len(list((tmp_path / "m").glob("*.safetensors"))) == files
    assert told[-1] == 5 * 40
    found = open_safetensors(tmp_path / "m")
    assert set(found) == set(TENSORS)
    assert all(torch.equal(found[key].read(), TENSORS[key]) for key in TENSORS)
    assert found["part.0"].dtype == "float32"


def test_whoever_may_look_into_the_folder_may_read_the_files(tmp_path):
    write(tmp_path / "m", 80)
    (tmp_path / "n").mkdir(mode=0o700)
    write_safetensors(tmp_path / "n", {"a": Stored.of(torch.ones(1))})
    readers = (tmp_path / "m").stat().st_mode & 0o444
    assert all(file.stat().st_mode & 0o444 == readers for file in (tmp_path / "m").glob("*.safetensors"))
    assert (tmp_path / "n/model.safetensors").stat().st_mode & 0o777 == 0o600


def test_shards_carry_hugging_faces_names_and_index(tmp_path):
    write(tmp_path / "m", 80)
    index = json.loads((tmp_path / "m" / INDEX).read_text())
    assert index["metadata"]["total_size"] == 200
    assert index["weight_map"]["part.4"] == "model-00003-of-00003.safetensors"


def test_a_missing_shard_is_named(tmp_path):
    write(tmp_path / "m", 80)
    (tmp_path / "m/model-00002-of-00003.safetensors").unlink()
    with pytest.raises(StairError, match=r"lacks model-00002-of-00003\.safetensors, one of 3"):
        open_safetensors(tmp_path / "m")


def test_a_key_that_only_the_index_has_is_named(tmp_path):
    write(tmp_path / "m", 80)
    file = tmp_path / "m" / INDEX
    index = json.loads(file.read_text())
    index["weight_map"]["part.9"] = "model-00001-of-00003.safetensors"
    file.write_text(json.dumps(index))
    with pytest.raises(StairError, match=r"first part\.9"):
        open_safetensors(tmp_path / "m")


@pytest.mark.parametrize("kept", [-1, 60, 5])
def test_a_short_file_is_refused_with_both_sizes(tmp_path, kept):
    write(tmp_path / "m", 1000)
    file = tmp_path / "m/model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    with pytest.raises(StairError, match=f"{len(whole[:kept]):,} bytes|no safetensors file"):
        open_safetensors(tmp_path / "m")


def test_a_pointer_of_git_lfs_is_no_model(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(StairError, match="git-lfs pointer"):
        open_safetensors(tmp_path)
