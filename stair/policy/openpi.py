"""openpi's protocol: metadata on connect, then flat observations and flat answers.

Facts: openpi `serving/websocket_policy_server.py`, `packages/openpi-client`, `policies/*_policy.py`.
    server → client  {…metadata}                  whatever the policy's author put there
    client → server  {"observation/image": uint8 [H, W, 3], "prompt": words, …}   keys by robot
    server → client  {"actions": [K, D], "server_timing": {"infer_ms"}}, or a text frame that says what failed
The surprise: observation keys belong to a robot's configuration, so both sides may be told others. A server
says nothing about its actions: everything about them is taken on trust, and loudly so (evaluate/pitfalls/).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stair.errors import StairError
from stair.policy.contract import PolicySpec, Query
from stair.policy.images import as_rgb
from stair.policy.talk import Chunks, Conversation, Defaults, Message, Request, as_chunk, words

NAME: str = "openpi"
WORD_KEYS: bool = False

IMAGE_KEYS = (
    "observation/image",  # LIBERO, and who copied its configuration
    "observation/exterior_image_1_left",  # DROID
    "images/cam_high",  # ALOHA: inside the map "images", [3, H, W]
    "observation/primary",
    "image",
)
"""Where the view of the scene stands in the documented configurations, in the order looked at."""


def greeting(spec: PolicySpec) -> Message:
    return {"policy": spec.name, "stair": spec.to_message()}


def asks(message: Message) -> bool:
    """Observations carry no type. Ours is the last protocol asked, after all that do."""
    return "type" not in message


def find(message: Message, path: str) -> Any:
    """The value at `path`: a key with slashes in it, or keys of maps in maps; None where there is none."""
    if path in message:
        return message[path]
    head, _, rest = path.partition("/")
    inner = message.get(head)
    return find(inner, rest) if rest and isinstance(inner, dict) else None


def read_request(message: Message, defaults: Defaults) -> Request:
    places = (defaults.image_key,) if defaults.image_key else IMAGE_KEYS
    place = next((path for path in places if find(message, path) is not None), None)
    if place is None:
        raise StairError(
            f"no image at {', '.join(places)}; there is: {', '.join(map(str, message)) or 'nothing'}",
            hint="start the server with --image_key, the key of your robot's camera",
        )
    query = Query(
        as_rgb(find(message, place), place),
        words(find(message, defaults.prompt_key), defaults.prompt_key),
        defaults.key(message.get("unnorm_key")),
        defaults.seed,
    )
    return Request(message, (query,), reset=bool(message.get("reset", False)))


def write_answer(request: Request, chunks: Chunks) -> Message:
    return {"actions": chunks.actions[0], "server_timing": {"infer_ms": chunks.server_ms}}


def write_refusal(message: Message, what: str, hint: str) -> str:
    return f"{what}\n  try: {hint}" if hint else what


def hello() -> None:
    return None


def greets(message: Message) -> bool:
    """Whatever its author put into a map; only what another protocol's server would say is not."""
    return "policy" in message or message.get("type") not in ("hello", "spec")


def read_greeting(message: Message, address: str) -> PolicySpec:
    name = str(message.get("policy") or address)
    return PolicySpec(name, 0, 0, (), {}, speaks=NAME, image="")


def write_query(query: Query, talk: Conversation, number: int) -> list[Message]:
    message: Message = {talk.prompt_key: query.instruction}
    path = talk.image_key or IMAGE_KEYS[0]
    if path.startswith("images/"):
        message["images"] = {path.removeprefix("images/"): query.image.transpose(2, 0, 1)}
    else:
        message[path] = query.image
    return [message]


def read_answer(message: Message, number: int) -> np.ndarray:
    if "actions" not in message:
        there = ", ".join(map(str, message)) or "nothing"
        raise StairError(f"the openpi server sent no actions but: {there}", hint="is it openpi? see --speaks")
    return as_chunk(message["actions"], "the openpi server")
