"""Our own protocol: a spec on connect, then queries and chunks.

server → client  {"type": "spec", …PolicySpec}, or the same under "stair" in a greeting for everybody
client → server  {"type": "query", "image", "instruction", "unnorm_key", "seed", "first"}
server → client  {"type": "actions", "actions": float32 [K, 7], "server_ms", "batch"}
                 {"type": "error", "what", "hint"}                    the connection stays usable
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stair.errors import StairError, unknown
from stair.policy.contract import PolicySpec, Query
from stair.policy.talk import Chunks, Conversation, Defaults, Message, Request, words

NAME: str = "stair"
WORD_KEYS: bool = False


def greeting(spec: PolicySpec) -> Message:
    return {"type": "spec", **spec.to_message()}


def asks(message: Message) -> bool:
    return message.get("type") == "query"


def read_query(message: Any, spec: PolicySpec) -> Query:
    """The query in a client's message. Raises StairError naming the field that is wrong."""
    if not isinstance(message, dict):
        raise StairError(f"a request is a map, not {type(message).__name__}", hint="see stair/policy")
    if message.get("type") != "query":
        raise StairError(f"type: {message.get('type')!r} is no request", hint="known: query")
    for name in ("image", "instruction", "unnorm_key", "seed"):
        if name not in message:
            raise StairError(f"{name}: missing", hint="a query has image, instruction, unnorm_key and seed")
    image, instruction = message["image"], words(message["instruction"], "instruction")
    if not isinstance(image, np.ndarray):
        raise StairError(f"image: an array is needed, not {type(image).__name__}", hint="uint8 [H, W, 3]")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise StairError(f"image: {image.dtype} {list(image.shape)} came", hint="uint8 [H, W, 3]")
    key, seed = message["unnorm_key"], message["seed"]
    if key not in spec.unnorm_keys:
        raise StairError(f"unnorm_key: {unknown('data set', str(key), spec.unnorm_keys)}")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise StairError(f"seed: {seed!r} came", hint="a whole number from 0 to 2^63 - 1")
    return Query(image, instruction, key, seed, first=bool(message.get("first", False)))


def read_request(message: Message, defaults: Defaults) -> Request:
    query = read_query(message, defaults.spec)
    return Request(message, (query,), reset=query.first)


def write_answer(request: Request, chunks: Chunks) -> Message:
    return {
        "type": "actions",
        "actions": chunks.actions[0],
        "server_ms": chunks.server_ms,
        "batch": chunks.batch,
    }


def write_refusal(message: Message, what: str, hint: str) -> Message:
    return {"type": "error", "what": what, "hint": hint}


def hello() -> None:
    return None


def greets(message: Message) -> bool:
    return message.get("type") == "spec" or isinstance(message.get("stair"), dict)


def read_greeting(message: Message, address: str) -> PolicySpec:
    return PolicySpec.from_message(message["stair"] if isinstance(message.get("stair"), dict) else message)


def query_message(query: Query) -> Message:
    """The request as it travels."""
    return {
        "type": "query",
        "image": query.image,
        "instruction": query.instruction,
        "unnorm_key": query.unnorm_key,
        "seed": query.seed,
        "first": query.first,
    }


def write_query(query: Query, talk: Conversation, number: int) -> list[Message]:
    return [query_message(query)]


def read_answer(message: Message, number: int) -> np.ndarray:
    if message.get("type") == "error":
        raise StairError(f"policy server: {message.get('what', '')}", hint=message.get("hint", ""))
    if message.get("type") != "actions":
        raise StairError(f"the policy server sent {message.get('type')!r} where actions belong")
    actions = np.asarray(message.get("actions"))
    if actions.ndim != 2 or actions.dtype.kind != "f":
        raise StairError(f"the policy server sent actions of shape {actions.shape}")
    return actions
