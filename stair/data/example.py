"""The protobuf subset of tf.train.Example, on the wire.

Takes named lists of bytes, floats or integers, hands on one message, and back. The surprise: parsing
copies no byte strings; they come back as `ByteSpans`, so that a reader can note where an encoded image
lies in the file and never touch it. Lists are read packed and unpacked, as the format allows both.

    Example{1: Features{1: map<string, Feature>}}    Feature{1: BytesList | 2: FloatList | 3: Int64List}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class ByteSpans:
    """A list of byte strings inside a larger buffer, cut out only when asked for."""

    def __init__(self, buffer: bytes, spans: np.ndarray) -> None:
        self.buffer = buffer
        self.spans = spans
        """int64 [n, 2]: start within the buffer, and length"""

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> bytes:
        start, length = self.spans[index]
        return self.buffer[start : start + length]

    def __iter__(self) -> Iterator[bytes]:
        return (self[i] for i in range(len(self)))


Values = ByteSpans | np.ndarray
"""What one feature holds: byte strings, float32 [n] or int64 [n]."""


class MalformedExample(ValueError):
    """The bytes are no tf.train.Example."""


def encode_example(features: Mapping[str, Sequence[bytes] | np.ndarray]) -> bytes:
    """The message with these features: float arrays as FloatList, integer and bool arrays as Int64List,
    sequences of bytes as BytesList; arrays are flattened. Keys are sorted, so equal input gives equal bytes.
    """
    entries = []
    for key in sorted(features):
        entry = _field(1, key.encode()) + _field(2, _encode_feature(features[key]))
        entries.append(_field(1, entry))
    return _field(1, b"".join(entries))


def parse_example(buffer: bytes) -> dict[str, Values]:
    """All features of a message. Raises MalformedExample."""
    result: dict[str, Values] = {}
    for number, wire, start, stop in _fields(buffer, 0, len(buffer)):
        if number != 1 or wire != LENGTH:
            continue
        for inner, inner_wire, entry_start, entry_stop in _fields(buffer, start, stop):
            if inner != 1 or inner_wire != LENGTH:
                continue
            key, values = _parse_entry(buffer, entry_start, entry_stop)
            result[key] = values
    return result


def encode_varint(value: int) -> bytes:
    """One unsigned number in base 128, low digits first."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _field(number: int, content: bytes) -> bytes:
    return encode_varint(number << 3 | LENGTH) + encode_varint(len(content)) + content


def _encode_feature(values: Sequence[bytes] | np.ndarray) -> bytes:
    if not isinstance(values, np.ndarray):
        return _field(1, b"".join(_field(1, value) for value in values))
    flat = values.ravel()
    if flat.dtype.kind == "f":
        packed = flat.astype("<f4").tobytes()
        return _field(2, _field(1, packed) if packed else b"")
    if flat.dtype.kind in "iub":
        numbers = flat.astype(np.int64)
        if ((numbers >= 0) & (numbers < 0x80)).all():  # flags and small counts: one byte each
            packed = numbers.astype(np.uint8).tobytes()
        else:
            packed = b"".join(encode_varint(int(n) & 0xFFFFFFFFFFFFFFFF) for n in numbers)
        return _field(3, _field(1, packed) if packed else b"")
    raise TypeError(f"cannot store {flat.dtype} in a tf.train.Example")


def _varint(buffer: bytes, at: int, stop: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < stop and shift < 70:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise MalformedExample("a number does not end")


def _fields(buffer: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Every field in a range: number, wire type, start and stop of its content."""
    while at < stop:
        tag, at = _varint(buffer, at, stop)
        number, wire = tag >> 3, tag & 7
        start = at
        if wire == LENGTH:
            length, start = _varint(buffer, at, stop)
            at = start + length
        elif wire == VARINT:
            _, at = _varint(buffer, at, stop)
        elif wire == FIXED32:
            at += 4
        elif wire == FIXED64:
            at += 8
        else:
            raise MalformedExample(f"wire type {wire} at byte {at}")
        if at > stop:
            raise MalformedExample(f"field {number} reaches beyond its message")
        yield number, wire, start, at


def _parse_entry(buffer: bytes, start: int, stop: int) -> tuple[str, Values]:
    key, values = "", _no_values()
    for number, wire, at, end in _fields(buffer, start, stop):
        if wire != LENGTH:
            continue
        if number == 1:
            try:
                key = buffer[at:end].decode()
            except UnicodeDecodeError:
                raise MalformedExample("a key is no UTF-8") from None
        elif number == 2:
            values = _parse_feature(buffer, at, end)
    return key, values


def _no_values() -> Values:
    return np.empty(0, np.float32)


def _parse_feature(buffer: bytes, start: int, stop: int) -> Values:
    values = _no_values()
    for number, wire, at, end in _fields(buffer, start, stop):
        if wire != LENGTH:
            continue
        if number == 1:
            values = _parse_bytes(buffer, at, end)
        elif number == 2:
            values = _parse_floats(buffer, at, end)
        elif number == 3:
            values = _parse_integers(buffer, at, end)
    return values


def _parse_bytes(buffer: bytes, start: int, stop: int) -> ByteSpans:
    spans = [
        (at, end - at)
        for number, wire, at, end in _fields(buffer, start, stop)
        if number == 1 and wire == LENGTH
    ]
    return ByteSpans(buffer, np.array(spans, np.int64).reshape(-1, 2))


def _parse_floats(buffer: bytes, start: int, stop: int) -> np.ndarray:
    parts = []
    for number, wire, at, end in _fields(buffer, start, stop):
        if number == 1 and wire in (LENGTH, FIXED32):
            if (end - at) % 4:
                raise MalformedExample("a packed float list is cut")
            parts.append(np.frombuffer(buffer, "<f4", (end - at) // 4, at))
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, "<f4"), *parts])


def _parse_integers(buffer: bytes, start: int, stop: int) -> np.ndarray:
    parts = []
    for number, wire, at, end in _fields(buffer, start, stop):
        if number == 1 and wire in (LENGTH, VARINT):
            parts.append(unpack_varints(np.frombuffer(buffer, np.uint8, end - at, at)))
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts])


def unpack_varints(data: np.ndarray) -> np.ndarray:
    """Packed numbers (uint8 [bytes]) as int64 [n]. Raises MalformedExample when the last one is cut."""
    if not len(data):
        return np.empty(0, np.int64)
    ends = np.flatnonzero(data < 0x80)
    if not len(ends) or ends[-1] != len(data) - 1:
        raise MalformedExample("a packed integer list is cut")
    if len(ends) == len(data):
        return data.astype(np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise MalformedExample("an integer is longer than 64 bits")
    result = np.zeros(len(ends), np.uint64)
    for digit in range(int(lengths.max())):
        has = lengths > digit
        value = (data[starts[has] + digit] & 0x7F).astype(np.uint64)
        result[has] |= value << np.uint64(7 * digit)
    return result.view(np.int64)
