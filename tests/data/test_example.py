import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stair.data.example import (
    ByteSpans,
    MalformedExample,
    encode_example,
    encode_varint,
    parse_example,
    unpack_varints,
)

int64 = st.integers(-(2**63), 2**63 - 1)
float32 = st.floats(width=32, allow_nan=False)
lists = st.one_of(
    st.lists(st.binary(max_size=40), max_size=6),
    st.lists(float32, min_size=1, max_size=30).map(lambda v: np.array(v, np.float32)),
    st.lists(int64, min_size=1, max_size=30).map(lambda v: np.array(v, np.int64)),
    st.lists(st.booleans(), min_size=1, max_size=300).map(np.array),
)


def plain(values):
    return list(values) if isinstance(values, ByteSpans) else values.tolist()


@settings(max_examples=150)
@given(st.dictionaries(st.text(max_size=20), lists, max_size=6))
def test_what_is_encoded_is_parsed_again(features):
    parsed = parse_example(encode_example(features))
    assert parsed.keys() == features.keys()
    for key, values in features.items():
        expected = values if isinstance(values, list) else values.tolist()
        assert plain(parsed[key]) == expected


@settings(max_examples=100)
@given(st.lists(int64, max_size=40))
def test_varints_of_any_size_and_sign_unpack(numbers):
    data = b"".join(encode_varint(n & 0xFFFFFFFFFFFFFFFF) for n in numbers)
    assert unpack_varints(np.frombuffer(data, np.uint8)).tolist() == numbers


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_noise_is_malformed_or_parsed_but_never_crashes(data):
    with contextlib.suppress(MalformedExample):
        parse_example(data)


@settings(max_examples=100)
@given(st.integers(1, 400))
def test_a_cut_message_is_malformed_at_every_length(cut):
    whole = encode_example({"a": [b"x" * 200], "b": np.arange(100), "c": np.ones(20, np.float32)})
    with pytest.raises(MalformedExample):
        parse_example(whole[: -min(cut, len(whole) - 1)])


def field(number, wire, content):
    return encode_varint(number << 3 | wire) + content


def length_field(number, content):
    return field(number, 2, encode_varint(len(content)) + content)


def message(feature):
    return length_field(1, length_field(1, length_field(1, b"k") + length_field(2, feature)))


def test_unpacked_lists_are_read_as_packed_ones():
    floats = b"".join(field(1, 5, np.float32(v).tobytes()) for v in (1.5, -2.0))
    numbers = b"".join(field(1, 0, encode_varint(v)) for v in (7, 300))
    assert parse_example(message(length_field(2, floats)))["k"].tolist() == [1.5, -2.0]
    assert parse_example(message(length_field(3, numbers)))["k"].tolist() == [7, 300]


def test_a_list_in_several_pieces_is_one_list():
    two = length_field(1, encode_varint(1)) + length_field(1, encode_varint(1000))
    assert parse_example(message(length_field(3, two)))["k"].tolist() == [1, 1000]


def test_unknown_fields_are_passed_over():
    extra = field(9, 1, b"12345678") + field(9, 5, b"1234") + field(9, 0, encode_varint(99999))
    inner = length_field(1, b"value")
    parsed = parse_example(extra + message(length_field(9, b"?") + length_field(1, extra + inner)))
    assert list(parsed["k"]) == [b"value"]


def test_byte_strings_tell_where_they_lie_in_the_message():
    data = encode_example({"image": [b"one", b"three"]})
    spans = parse_example(data)["image"].spans
    assert [data[a : a + n] for a, n in spans] == [b"one", b"three"]
