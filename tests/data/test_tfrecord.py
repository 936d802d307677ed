import struct

import pytest

from stair.data.tfrecord import CorruptRecord, frame, masked_crc, read_records
from stair.errors import StairError

PAYLOADS = [b"first", b"", b"third" * 1000]


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "x-train.tfrecord-00000-of-00001"
    path.write_bytes(b"".join(frame(p) for p in PAYLOADS))
    return path


def damage(path, at, value=None):
    data = bytearray(path.read_bytes())
    data[at] = data[at] ^ 0xFF if value is None else value
    path.write_bytes(data)


def test_masked_crc_is_the_published_one():
    # CRC-32C of "123456789" is 0xE3069283 (RFC 3720); masked as in TensorFlow's crc32c.h.
    crc = 0xE3069283
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_records_come_back_with_their_places(shard):
    records = list(read_records(shard))
    assert [r.payload for r in records] == PAYLOADS
    assert [r.number for r in records] == [0, 1, 2]
    data = shard.read_bytes()
    assert all(data[r.offset : r.offset + len(r.payload)] == r.payload for r in records)


def test_a_broken_payload_names_file_record_and_byte(shard):
    second = len(frame(PAYLOADS[0]))
    damage(shard, second + len(frame(PAYLOADS[1])) + 12)
    with pytest.raises(CorruptRecord) as caught:
        list(read_records(shard))
    assert f"{shard}: record 2 at byte {second + 16}" in str(caught.value)
    assert "data.skip_corrupt true" in caught.value.hint


def test_a_broken_payload_is_stepped_over_and_the_next_one_read(shard):
    damage(shard, 12)
    faults = []
    assert [r.number for r in read_records(shard, on_corrupt=faults.append)] == [1, 2]
    assert len(faults) == 1
    assert "record 0 at byte 0" in faults[0].what


def test_a_broken_length_loses_the_rest_of_the_file(shard):
    damage(shard, len(frame(PAYLOADS[0])))
    faults = []
    assert [r.number for r in read_records(shard, on_corrupt=faults.append)] == [0]
    assert "length" in faults[0].what


@pytest.mark.parametrize("cut", [1, 4, 5, 4000, 5000, 5012, 5015])
def test_a_cut_file_is_told_wherever_it_is_cut(shard, cut):
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-cut])
    with pytest.raises(CorruptRecord, match=r"record 2 at byte 37: the file ends"):
        list(read_records(shard))


def test_a_huge_length_with_a_right_checksum_is_a_cut_file(shard):
    length = struct.pack("<Q", 1 << 60)
    shard.write_bytes(length + struct.pack("<I", masked_crc(length)))
    with pytest.raises(CorruptRecord, match="before the record does"):
        list(read_records(shard))


def test_a_missing_file_is_said_in_two_lines(tmp_path):
    with pytest.raises(StairError, match="cannot read"):
        list(read_records(tmp_path / "none"))
