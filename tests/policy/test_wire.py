"""Messages survive the wire, and nothing that needs pickle crosses it."""

import contextlib
from fractions import Fraction

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stair.errors import StairError
from stair.policy.wire import pack, unpack

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
dtypes = st.sampled_from(["uint8", "bool", "float32", ">f8", "int64", "float16"])


@settings(max_examples=40)
@given(plain)
def test_plain_values_come_back_unchanged(value):
    assert unpack(pack(value)) == value


@given(arrays.arrays(dtypes, arrays.array_shapes(min_dims=0, min_side=0, max_side=5)))
def test_arrays_come_back_with_dtype_shape_and_bits(array):
    back = unpack(pack({"a": [array]}))["a"][0]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_an_array_that_is_no_single_block_of_memory_is_sent_right():
    array = np.arange(24, dtype=np.int16).reshape(4, 6)[::2, ::-1]
    assert np.array_equal(unpack(pack(array)), array)


def test_numpy_scalars_keep_their_type():
    back = unpack(pack(np.float32(0.1)))
    assert type(back) is np.float32
    assert back == np.float32(0.1)


def test_the_form_on_the_wire_is_openpis():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tree = msgpack.unpackb(pack(array))
    assert tree == {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": "<f4", b"shape": [2, 3]}


@pytest.mark.parametrize(
    "value", [np.array([{}], object), np.array(["a"]), np.zeros(2, "i4,i4"), np.zeros(1, complex)]
)
def test_other_arrays_are_refused_before_they_are_sent(value):
    with pytest.raises(StairError, match="do not travel"):
        pack({"a": value})


def test_a_value_that_is_not_plain_is_refused():
    with pytest.raises(StairError, match="Fraction is no plain value"):
        pack({"a": Fraction(1, 2)})


def array_map(**changes):
    tree = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    tree.update({key.encode(): value for key, value in changes.items()})
    return msgpack.packb(tree)


@pytest.mark.parametrize(
    "data",
    [
        array_map(dtype="|O"),
        array_map(dtype="|V8"),
        array_map(dtype="no such"),
        array_map(dtype=None),
        array_map(shape=[3]),
        array_map(shape=[-1]),
        array_map(shape=[2**62, 2**62]),
        array_map(shape="2"),
        array_map(data="text"),
        b"\xc1",
        b"",
        b"\x01\x02",
        b"\x91" * 5000,
        "a text frame",
    ],
)
def test_a_broken_message_is_an_expected_failure(data):
    with pytest.raises(StairError):
        unpack(data)


@given(st.binary(max_size=64))
def test_no_bytes_whatsoever_raise_anything_but_an_expected_failure(data):
    with contextlib.suppress(StairError):
        unpack(data)


def test_arrays_with_words_as_keys_are_read_and_written():
    array, scalar = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(0.5)
    data = pack({"a": array, "b": scalar}, word_keys=True)
    bare = msgpack.unpackb(data)
    assert set(bare["a"]) == {"__ndarray__", "data", "dtype", "shape"}
    assert bare["b"] == 0.5
    assert np.array_equal(unpack(data)["a"], array)
    with pytest.raises(StairError, match="may not travel"):
        unpack(msgpack.packb({"__ndarray__": True, "data": b"x", "dtype": "|O", "shape": [1]}))
