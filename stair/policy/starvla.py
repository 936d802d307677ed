"""starVLA's protocol: metadata on connect, then lists of examples.

Facts: starVLA `deployment/model_server/{policy_wrapper, tools/websocket_policy_server}.py`.
    server → client  {"ckpt_path", "action_chunk_size", "available_unnorm_keys", "default_unnorm_key", …}
    client → server  {"type": "ping" | "infer" | "predict_action", "request_id", "payload"?} around, or just,
                     {"examples": [{"image": [uint8 [H, W, 3], …], "lang"}, …], "unnorm_key"?}
    server → client  {"status": "ok", "ok", "type", "request_id", "data": {"actions": float [B, K, D]}}
                     {"status": "error", "ok": False, "error": {"message"}}
The surprise: older servers answer `normalized_actions`, which no robot understands; they are refused.
BridgeV2 and Fractal have other names here (`oxe_bridge`, `oxe_rt1`); both are understood.
"""

from __future__ import annotations

from pathlib import PurePath

import numpy as np

from stair.errors import StairError
from stair.policy.contract import PolicySpec, Query
from stair.policy.images import as_rgb
from stair.policy.talk import Chunks, Conversation, Defaults, Message, Request, as_chunk, words

NAME: str = "starvla"
WORD_KEYS: bool = False
THEIR_NAMES = {"bridge_orig": "oxe_bridge", "fractal20220817_data": "oxe_rt1"}


def greeting(spec: PolicySpec) -> Message:
    keys = list(spec.unnorm_keys)
    return {
        "env": "stair_policy_server",
        "ckpt_path": PurePath(spec.name).name,
        "action_chunk_size": spec.chunk,
        "available_unnorm_keys": keys,
        "default_unnorm_key": keys[0] if len(keys) == 1 else None,
        "training_obs_image_size": [spec.image_size, spec.image_size],
    }


def asks(message: Message) -> bool:
    return message.get("type") in ("ping", "infer", "predict_action") or "examples" in message


def read_request(message: Message, defaults: Defaults) -> Request:
    if message.get("type") == "ping":
        return Request(message, reply=_reply(message, "ping"))
    payload = message.get("payload", message)
    examples = payload.get("examples") if isinstance(payload, dict) else None
    if not isinstance(examples, list) or not examples or not all(isinstance(one, dict) for one in examples):
        raise StairError("examples: a list of maps is needed", hint="each with image and lang")
    ours = {theirs: name for name, theirs in THEIR_NAMES.items() if name in defaults.spec.unnorm_keys}
    asked = payload.get("unnorm_key")
    key = defaults.key(ours.get(asked, asked) if isinstance(asked, str) else asked)
    queries = []
    for number, example in enumerate(examples):
        images = example.get("image")
        first = images[0] if isinstance(images, list) and images else images
        image = as_rgb(first, f"examples[{number}].image")
        told = words(example.get("lang"), f"examples[{number}].lang")
        queries.append(Query(image, told, key, defaults.seed + number))
    return Request(message, tuple(queries))


def write_answer(request: Request, chunks: Chunks) -> Message:
    return _reply(request.message, "inference_result") | {"data": {"actions": np.stack(chunks.actions)}}


def write_refusal(message: Message, what: str, hint: str) -> Message:
    words = f"{what}; try: {hint}" if hint else what
    told = _reply(message, "inference_result")
    return told | {"status": "error", "ok": False, "error": {"message": words}}


def _reply(message: Message, kind: str) -> Message:
    return {"status": "ok", "ok": True, "type": kind, "request_id": message.get("request_id", "default")}


def hello() -> None:
    return None


def greets(message: Message) -> bool:
    older = set(message) == {"env"}
    return older or "action_chunk_size" in message or "available_unnorm_keys" in message


def read_greeting(message: Message, address: str) -> PolicySpec:
    available = message.get("available_unnorm_keys") or []
    theirs = [str(key) for key in available] if isinstance(available, list) else []
    ours = [name for name, other in THEIR_NAMES.items() if other in theirs and name not in theirs]
    chunk, size = message.get("action_chunk_size"), message.get("training_obs_image_size")
    return PolicySpec(
        name=str(message.get("ckpt_path") or address),
        chunk=chunk if isinstance(chunk, int) else 0,
        image_size=size[0] if isinstance(size, list) and size and isinstance(size[0], int) else 0,
        unnorm_keys=(*theirs, *ours),
        conventions={},
        speaks=NAME,
        image="",
    )


def write_query(query: Query, talk: Conversation, number: int) -> list[Message]:
    key, known = query.unnorm_key, talk.spec.unnorm_keys
    their = THEIR_NAMES.get(key, "")
    message: Message = {"examples": [{"image": [query.image], "lang": query.instruction}], "do_sample": False}
    if known:
        message["unnorm_key"] = their if their in known else key
    return [message]


def read_answer(message: Message, number: int) -> np.ndarray:
    if not message.get("ok", message.get("status") == "ok"):
        error = message.get("error")
        told = error.get("message") if isinstance(error, dict) else error
        raise StairError(f"policy server: {told or 'no reason given'}")
    data = message.get("data")
    if isinstance(data, dict) and "actions" not in data and "normalized_actions" in data:
        raise StairError(
            "the starVLA server sends normalised actions, as its older versions did",
            hint="serve with a starVLA that unnormalises (its answers have data.actions)",
        )
    actions = data.get("actions") if isinstance(data, dict) else None
    if isinstance(actions, np.ndarray) and actions.ndim == 3 and len(actions) == 1:
        actions = actions[0]
    return as_chunk(actions, "the starVLA server")
