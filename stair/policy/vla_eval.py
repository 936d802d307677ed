"""vla-evaluation-harness's protocol: a hello from both sides, episodes, one action an observation.

Facts: allenai/vla-evaluation-harness 0.8 (`pip install vla-eval`): `protocol/*`, `specs.py`, `connection.py`.
Every frame is {"type", "payload", "seq", "timestamp"}, type one of hello, observation, action,
episode_start, episode_end, error. The client says hello first; an action echoes its observation's `seq`.
    observation  {"images": {camera: uint8 [H, W, 3]}, "task_description": words, …}
    action       {"actions": float [7]}: one action; its benchmarks take no chunks
The surprise: images arrive as PNG. A rotation said to be `euler_xyz` is ours, and a `continuous_01` gripper
is open at one.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from stair.errors import StairError
from stair.policy.contract import ActionConvention, PolicySpec, Query
from stair.policy.images import as_rgb
from stair.policy.talk import Chunks, Conversation, Defaults, Message, Request, as_chunk, words

NAME: str = "vla-eval"
WORD_KEYS: bool = True
VERSION = 1

POSITIONS = {"delta_xyz": "delta_xyz_m", "absolute_xyz": "absolute_xyz_m"}
ROTATIONS = {
    "euler_xyz": "delta_rpy_rad",
    "axis_angle": "delta_axis_angle_rad",
    "quaternion_xyzw": "quaternion_xyzw",
    "rot6d_interleaved": "rot6d_interleaved",
}
GRIPPERS = {
    "continuous_01": "absolute_1_open",
    "binary_close_negative": "absolute_-1_close_1_open",
    "binary_close_positive": "absolute_-1_open_1_close",
    "binary_close_01": "absolute_1_close",
}
"""Its words for what an action means → ours; what is not here (`raw`) is not stated."""


def frame(kind: str, payload: Message, seq: Any = 0) -> Message:
    """One frame. Its time is left out of account, so that equal things are equal bytes."""
    return {"type": kind, "payload": payload, "seq": seq if isinstance(seq, int) else 0, "timestamp": 0.0}


def greeting(spec: PolicySpec) -> Message:
    meant = next(iter(spec.conventions.values()), ActionConvention())
    return frame(
        "hello",
        {
            "harness_version": "",
            "protocol_version": VERSION,
            "model_server": f"STAIR {spec.name}",
            "capabilities": {},
            "action_spec": {
                "position": _component("position", 3, _theirs(POSITIONS, meant.translation)),
                "rotation": _component("rotation", meant.dim - 4, _theirs(ROTATIONS, meant.rotation)),
                "gripper": _component("gripper", 1, _theirs(GRIPPERS, meant.gripper)),
            },
            "observation_spec": {
                "image": _component("image", 0, "rgb_hwc_uint8"),
                "language": _component("language", 0, "language"),
            },
        },
    )


def _component(name: str, dims: int, form: str) -> Message:
    return {"name": name, "dims": dims, "format": form}


def _theirs(table: dict[str, str], ours: str) -> str:
    return next((theirs for theirs, mine in table.items() if mine == ours), "raw")


def asks(message: Message) -> bool:
    return message.keys() >= {"type", "payload", "seq"}


def read_request(message: Message, defaults: Defaults) -> Request:
    kind, payload = message.get("type"), message.get("payload")
    if not isinstance(payload, dict):
        raise StairError(f"payload: a map is needed, not {type(payload).__name__}")
    if kind in ("hello", "episode_start", "episode_end", "error"):
        # Our greeting, sent on connect, has already answered the hello.
        return Request(message, reset=kind == "episode_start")
    if kind != "observation":
        raise StairError(f"type: {kind!r} is no frame of a client's")
    images = payload.get("images")
    if not isinstance(images, dict) or not images:
        raise StairError("images: a map of cameras is needed", hint="the first one, or --image_key, is used")
    camera = defaults.image_key or next(iter(images))
    if camera not in images:
        raise StairError(f"images: no camera '{camera}'; there is: {', '.join(images)}")
    query = Query(
        as_rgb(decode_image(images[camera]), f"images.{camera}"),
        words(payload.get("task_description"), "task_description"),
        defaults.key(payload.get("unnorm_key")),
        defaults.seed,
    )
    return Request(message, (query,), one_action=True)


def decode_image(sent: Any) -> Any:
    """The array in `{"__image__": True, "format", "data", "shape", …}`; an array as it is.

    Raises StairError for a picture that cannot be read.
    """
    if not isinstance(sent, dict) or "__image__" not in sent:
        return sent
    try:
        if sent.get("format") == "raw":
            return np.frombuffer(sent["data"], np.dtype(sent["dtype"])).reshape(sent["shape"])
        from PIL import Image

        with Image.open(io.BytesIO(sent["data"]), formats=("PNG", "JPEG")) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StairError(f"an image that cannot be read came ({error})", hint="png, jpeg or raw") from None


def write_answer(request: Request, chunks: Chunks) -> Message:
    return frame("action", {"actions": chunks.actions[0][0]}, request.message.get("seq"))


def write_refusal(message: Message, what: str, hint: str) -> Message:
    return frame("error", {"error": f"{what}; try: {hint}" if hint else what}, message.get("seq"))


def hello() -> Message:
    return frame("hello", {"harness_version": "0.8.0", "protocol_version": VERSION})


def greets(message: Message) -> bool:
    return message.get("type") == "hello" and isinstance(message.get("payload"), dict)


def read_greeting(message: Message, address: str) -> PolicySpec:
    said = message["payload"]
    if said.get("protocol_version") != VERSION:
        raise StairError(
            f"{address} speaks vla-eval's protocol {said.get('protocol_version')}, not {VERSION}"
        )
    parts = said.get("action_spec")
    conventions = {"": _convention(parts)} if isinstance(parts, dict) and parts else {}
    name = str(said.get("model_server") or address)
    return PolicySpec(name, 0, 0, (), conventions, speaks=NAME, image="")


def _convention(parts: Message) -> ActionConvention:
    """As far as the server says; what its words do not tell is left empty."""

    def form(part: str) -> str:
        component = parts.get(part)
        return str(component.get("format", "")) if isinstance(component, dict) else ""

    sizes = [part.get("dims", 0) for part in parts.values() if isinstance(part, dict)]
    known = {"position", "rotation", "gripper"} <= parts.keys() and all(sizes)
    return ActionConvention(
        dim=sum(sizes) if known else 0,
        translation=POSITIONS.get(form("position"), ""),
        rotation=ROTATIONS.get(form("rotation"), ""),
        gripper=GRIPPERS.get(form("gripper"), ""),
        control_hz=0.0,
    )


def write_query(query: Query, talk: Conversation, number: int) -> list[Message]:
    camera = talk.image_key or "primary"
    asked: Message = {"images": {camera: query.image}, "task_description": query.instruction}
    observation = frame("observation", asked, number)
    if not query.first:
        return [observation]
    return [frame("episode_start", {"task": {"name": query.instruction}}, number), observation]


def read_answer(message: Message, number: int) -> np.ndarray:
    payload = message.get("payload")
    if not isinstance(payload, dict):
        raise StairError("the vla-eval server sent a frame without a payload")
    if message.get("type") == "error":
        raise StairError(f"policy server: {payload.get('error', payload)}")
    if message.get("type") != "action":
        raise StairError(f"the vla-eval server sent {message.get('type')!r} where an action belongs")
    if message.get("seq") != number:
        raise StairError(f"the vla-eval server answered frame {message.get('seq')}, not {number}")
    return as_chunk(payload.get("actions", payload.get("action")), "the vla-eval server")
