"""Every protocol that is spoken here, and how one is told from another.

Takes names and messages, hands on the protocol. One port serves all: a server's greeting is at once our
spec, metadata for openpi's and starVLA's clients and the hello that vla-eval's client waits for, and every
request shows by its keys whose it is. A client tells a server by its greeting; who is silent is waited for,
then spoken to as vla-eval's servers expect.
"""

from __future__ import annotations

from typing import Any

from stair.errors import StairError, unknown
from stair.policy import native, openpi, starvla, vla_eval
from stair.policy.contract import PolicySpec
from stair.policy.talk import Dialect, Message

_ALL: tuple[Dialect, ...] = (native, vla_eval, starvla, openpi)
"""In the order in which a message is offered to them: openpi last, since anything might be its."""
DIALECTS = {dialect.NAME: dialect for dialect in _ALL}


def find_dialect(name: str) -> Dialect:
    """Raises UsageError for a protocol that nobody here speaks."""
    if name not in DIALECTS:
        raise unknown("protocol", name, DIALECTS)
    return DIALECTS[name]


def greeting(spec: PolicySpec, speaks: str = "auto") -> Message:
    """What a server says on connect; with `auto`, to clients of every protocol at once."""
    if speaks != "auto":
        return find_dialect(speaks).greeting(spec)
    return {**openpi.greeting(spec), **starvla.greeting(spec), **vla_eval.greeting(spec)}


def asked_by(message: Any, speaks: str = "auto") -> Dialect:
    """Whose request a message is. Raises StairError when it is nobody's."""
    if not isinstance(message, dict):
        raise StairError(f"a request is a map, not {type(message).__name__}", hint="see stair/policy")
    if not isinstance(message.get("type", ""), str):
        raise StairError(f"type: {type(message['type']).__name__} came", hint="a word; see stair/policy")
    for dialect in DIALECTS.values() if speaks == "auto" else [find_dialect(speaks)]:
        if dialect.asks(message):
            return dialect
    raise StairError(f"type: {message.get('type')!r} is no request", hint="known: query; see stair/policy")


def greeted_by(message: Any, speaks: str = "auto") -> Dialect | None:
    """Whose server greets so; None when it is not that of `speaks`."""
    if not isinstance(message, dict) or not isinstance(message.get("type", ""), str):
        return None
    for dialect in DIALECTS.values() if speaks == "auto" else [find_dialect(speaks)]:
        if dialect.greets(message):
            return dialect
    return None
