"""Other projects' clients and a server, driven from a test; runs in the environment `clients`, without STAIR.

python other_clients.py openpi ADDRESS          openpi-client 0.1.2
python other_clients.py vla-eval ADDRESS        vla-eval 0.8.0
python other_clients.py vla-eval-server FILE    serves, after writing its port to FILE
python other_clients.py record FOLDER           the bytes that these clients and that server send

Prints one JSON line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def openpi(address: str) -> dict:
    from openpi_client.action_chunk_broker import ActionChunkBroker
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    host, port = address.rsplit(":", 1)
    client = WebsocketClientPolicy(host, int(port))
    said = {"keys": sorted(client.get_server_metadata())}
    asked = {"observation/image": IMAGE, "prompt": "go"}
    answers = [client.infer(asked) for _ in range(2)]
    said["actions"] = [answer["actions"].tolist() for answer in answers]
    said["timed"] = answers[0]["server_timing"]["infer_ms"] >= 0
    try:
        client.infer({"prompt": "go"})
    except RuntimeError as error:
        said["error"] = str(error)
    broker = ActionChunkBroker(client, 4)
    said["broken_up"] = [broker.infer(asked)["actions"].tolist() for _ in range(2)]
    return said


def vla_eval(address: str) -> dict:
    import anyio
    from vla_eval.connection import Connection

    said: dict = {}

    async def talk() -> None:
        async with Connection(address, timeout=120, max_retries=1) as client:
            said["server"] = client.server_info
            asked = {"images": {"primary": IMAGE}, "task_description": "go"}
            said["actions"] = []
            for _ in range(2):
                await client.start_episode({"task": {"name": "go"}})
                said["actions"].append([(await client.act(asked))["actions"].tolist() for _ in range(3)])
                await client.end_episode({"metrics": {"success": True}})
            try:
                await client.act({"images": {}, "task_description": "go"})
            except RuntimeError as error:
                said["error"] = str(error)

    anyio.run(talk)
    return said


def vla_eval_server(file: str) -> None:
    import anyio
    from vla_eval import specs
    from vla_eval.model_servers.predict import PredictModelServer
    from vla_eval.model_servers.serve import serve_async

    class Counting(PredictModelServer):
        """Answers with how bright the picture is and how old the episode."""

        def get_action_spec(self):
            parts = {"position": specs.POSITION_DELTA, "rotation": specs.ROTATION_EULER}
            return {**parts, "gripper": specs.GRIPPER_01}

        def get_observation_spec(self):
            return {"image": specs.IMAGE_RGB, "language": specs.LANGUAGE}

        def predict(self, obs, ctx):
            if obs["task_description"] == "break":
                raise RuntimeError("the counting server broke")
            image = next(iter(obs["images"].values()))
            return {"actions": np.array([0.001 * ctx.step, image.mean() / 1e4, 0, 0, 0, 0, 1], np.float32)}

    async def run() -> None:
        async with anyio.create_task_group() as group:
            port = await group.start(serve_async, Counting(), "127.0.0.1", 0)
            Path(file).write_text(str(port))

    anyio.run(run)


def record(folder: str) -> dict:
    from openpi_client import msgpack_numpy
    from vla_eval.model_servers.serve import make_hello_payload
    from vla_eval.protocol.messages import Message, MessageType, pack_message
    from vla_eval.specs import GRIPPER_01, POSITION_DELTA, ROTATION_EULER

    parts = {"position": POSITION_DELTA, "rotation": ROTATION_EULER, "gripper": GRIPPER_01}
    spec = {name: part.to_dict() for name, part in parts.items()}
    greeting = make_hello_payload(model_server="Counting", capabilities={}, action_spec=spec)
    action = np.array([0.001, 0.002, 0, 0, 0, 0, 1], np.float32)
    asked = {"images": {"primary": IMAGE}, "task_description": "go"}
    frames = {
        "vla_eval_client_hello": (MessageType.HELLO, make_hello_payload(), 1),
        "vla_eval_client_start": (MessageType.EPISODE_START, {"task": {"name": "go"}}, 2),
        "vla_eval_client_observation": (MessageType.OBSERVATION, asked, 3),
        "vla_eval_server_hello": (MessageType.HELLO, greeting, 1),
        "vla_eval_server_action": (MessageType.ACTION, {"actions": action}, 3),
        "vla_eval_server_error": (MessageType.ERROR, {"error": "observation_failed: no"}, 3),
    }
    written = {name: pack_message(Message(*frame, timestamp=1.0)) for name, frame in frames.items()}
    written["openpi_client_infer"] = msgpack_numpy.packb({"observation/image": IMAGE, "prompt": "go"})
    answer = {"actions": np.tile(action, (10, 1)), "server_timing": {"infer_ms": np.float64(2.5)}}
    written["openpi_server_answer"] = msgpack_numpy.packb(answer)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, data in written.items():
        (Path(folder) / f"{name}.msgpack").write_bytes(data)
    return {name: len(data) for name, data in written.items()}


if __name__ == "__main__":
    kind, where = sys.argv[1:]
    act = {"openpi": openpi, "vla-eval": vla_eval, "vla-eval-server": vla_eval_server, "record": record}[kind]
    print(json.dumps(act(where)))
