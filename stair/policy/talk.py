"""What every protocol translates to and from; numpy only.

A protocol (`native.py`, `openpi.py`, `starvla.py`, `vla_eval.py`) is a file of pure functions between its
messages and the values here. A server reads a `Request` and writes an answer; a client writes what it asks
and reads a chunk. Neither opens a socket: that is stair/serve/server.py and stair/policy/remote.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from stair.errors import StairError, unknown
from stair.policy.contract import PolicySpec, Query

Message = dict[str, Any]


@dataclass(frozen=True)
class Defaults:
    """What a server takes where a client says nothing."""

    spec: PolicySpec
    unnorm_key: str = ""
    """Empty: the only one there is."""
    seed: int = 0
    """Of the noise of this very request."""
    image_key: str = ""
    """Where openpi's clients put the image; empty: the documented places."""
    prompt_key: str = "prompt"

    def key(self, asked: Any = None) -> str:
        """The data set whose statistics are meant. Raises StairError when it is unknown or ambiguous."""
        if asked is not None and not isinstance(asked, str):
            raise StairError(f"unnorm_key: {asked!r} came", hint="the name of a data set")
        key, known = asked or self.unnorm_key, self.spec.unnorm_keys
        if not key and len(known) == 1:
            return known[0]
        if not key:
            raise StairError(
                f"unnorm_key: not given, and the policy knows {', '.join(known)}",
                hint="start the server with --unnorm_key, or send one",
            )
        if key not in known:
            raise StairError(f"unnorm_key: {unknown('data set', key, known)}")
        return key


@dataclass(frozen=True)
class Request:
    """What a client wants."""

    message: Message = field(repr=False)
    """As it came: an answer may have to echo parts of it."""
    queries: tuple[Query, ...] = ()
    reset: bool = False
    """An episode begins: steps that were remembered are void."""
    reply: Message | None = None
    """What to say at once when nothing is asked; None: nothing."""
    one_action: bool = False
    """The client runs one action an answer, and leaves chunks to the server."""


@dataclass(frozen=True)
class Chunks:
    """What the policy answered to the queries of one request."""

    actions: list[np.ndarray]
    """float32 [K, 7] each"""
    server_ms: float = 0.0
    batch: int = 1


@dataclass(frozen=True)
class Conversation:
    """What a client knows of the server it talks to."""

    spec: PolicySpec
    image_key: str = ""
    prompt_key: str = "prompt"


class Dialect(Protocol):
    """One protocol. The modules named above are such objects."""

    NAME: str
    WORD_KEYS: bool
    """How arrays are written; see stair/policy/wire.py."""

    # The server's side ---------------------------------------------------------------------------------
    def greeting(self, spec: PolicySpec) -> Message:
        """What a client hears on connecting."""
        ...

    def asks(self, message: Message) -> bool:
        """Whether a client's message is of this protocol."""
        ...

    def read_request(self, message: Message, defaults: Defaults) -> Request:
        """Raises StairError naming the field that is wrong."""
        ...

    def write_answer(self, request: Request, chunks: Chunks) -> Message: ...

    def write_refusal(self, message: Message, what: str, hint: str) -> Message | str:
        """Says why there is no answer; words travel as a text frame."""
        ...

    # The client's side ---------------------------------------------------------------------------------
    def hello(self) -> Message | None:
        """What must be sent before the server says anything; None: it speaks first."""
        ...

    def greets(self, message: Message) -> bool:
        """Whether a server's first message is of this protocol."""
        ...

    def read_greeting(self, message: Message, address: str) -> PolicySpec: ...

    def write_query(self, query: Query, talk: Conversation, number: int) -> list[Message]:
        """The messages that ask; only the last is answered. `number` counts the queries."""
        ...

    def read_answer(self, message: Message, number: int) -> np.ndarray:
        """float [K, D]. Raises StairError with the server's words when it refuses."""
        ...


def words(value: Any, field_name: str) -> str:
    """An instruction. Raises StairError naming the field when there is none."""
    if not isinstance(value, str) or not value.strip():
        raise StairError(f"{field_name}: {value!r} came", hint="words for the policy")
    return value


def as_chunk(actions: Any, who: str) -> np.ndarray:
    """float [K, D] from an answer's actions, a single action becoming a chunk of one."""
    if isinstance(actions, list):
        try:
            actions = np.asarray(actions, np.float32)
        except (TypeError, ValueError):
            actions = np.zeros((0, 0, 0))
    if not isinstance(actions, np.ndarray):
        raise StairError(f"{who} sent no actions")
    chunk = actions[None] if actions.ndim == 1 else actions
    if chunk.ndim != 2 or 0 in chunk.shape or chunk.dtype.kind not in "fiu":
        raise StairError(f"{who} sent actions of shape {actions.shape}")
    return chunk
