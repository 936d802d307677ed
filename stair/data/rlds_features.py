"""What the steps and the episodes of an RLDS data set hold, and the two JSON files that say so.

Takes `Features`, hands on the trees of features.json and dataset_info.json in the very form that
tensorflow_datasets' `builder_from_directory` reads, and back. The surprise: these are protobuf messages
in JSON, so numbers are written as strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stair.errors import StairError

DTYPES = ("float32", "int32", "int64", "uint8", "bool")
FILE_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
FEATURE_PACKAGE = "tensorflow_datasets.core.features"
DICT_CLASS = f"{FEATURE_PACKAGE}.features_dict.FeaturesDict"
STEPS_CLASS = f"{FEATURE_PACKAGE}.dataset_feature.Dataset"


@dataclass(frozen=True)
class Feature:
    """One value of a step or of an episode."""

    kind: Literal["tensor", "text", "image"]
    shape: tuple[int, ...] = ()
    """() is a scalar; images are (height, width, 3)."""
    dtype: str = "float32"
    description: str = ""


@dataclass(frozen=True)
class Features:
    """All values of a data set by their flat names, such as `observation/image_0`."""

    steps: Mapping[str, Feature]
    metadata: Mapping[str, Feature] = field(default_factory=dict)
    """Of the episode, under `episode_metadata`."""
    episode: Mapping[str, Feature] = field(default_factory=dict)
    """Of the episode, beside its steps: Fractal's `aspects/success`, `attributes/env_name`, ..."""


def tensor(*shape: int, dtype: str = "float32", description: str = "") -> Feature:
    """An array of numbers; without a shape, one number."""
    if dtype not in DTYPES:
        raise StairError(f"an RLDS feature cannot be {dtype}", hint=f"one of {', '.join(DTYPES)}")
    return Feature("tensor", shape, dtype, description)


def text(description: str = "") -> Feature:
    """A string."""
    return Feature("text", description=description)


def image(height: int, width: int, description: str = "") -> Feature:
    """An RGB image, encoded on disk."""
    return Feature("image", (height, width, 3), "uint8", description)


def manipulation_features(
    height: int,
    width: int,
    *,
    cameras: Sequence[str] = ("image_0",),
    metadata: Mapping[str, Feature] | None = None,
) -> Features:
    """The steps of BridgeV2, less its language embedding: what `data/standardize.py` expects of
    `tabletop` and `bridge_orig` alike. `metadata` defaults to the episode's number and path."""
    steps = {f"observation/{camera}": image(height, width, "Camera RGB.") for camera in cameras}
    steps |= {
        "observation/state": tensor(
            7, description="End effector x, y, z (m), roll, pitch, yaw (rad), gripper."
        ),
        "action": tensor(7, description="Delta xyz (m), delta roll, pitch, yaw (rad), gripper (1 = open)."),
        "language_instruction": text("What the robot is to do."),
        "reward": tensor(description="1 on the final step of a demonstration."),
        "discount": tensor(description="1 unless given."),
        "is_first": tensor(dtype="bool", description="True on the first step."),
        "is_last": tensor(dtype="bool", description="True on the last step."),
        "is_terminal": tensor(dtype="bool", description="True on the last step of a demonstration."),
    }
    if metadata is None:
        metadata = {"episode_id": tensor(dtype="int32"), "file_path": text()}
    return Features(steps, metadata)


ASPECTS = ("already_success", "feasible", "has_aspects", "success", "undesirable")
ATTRIBUTES = ("collection_mode", "data_type", "env", "location", "objects_family", "task_family")
POINTS = {
    "base_pose_tool_reached": (7,),
    "gripper_closed": (1,),
    "gripper_closedness_commanded": (1,),
    "height_to_bottom": (1,),
    "natural_language_embedding": (512,),
    "orientation_box": (2, 3),
    "orientation_start": (4,),
    "robot_orientation_positions_box": (3, 3),
    "rotation_delta_to_go": (3,),
    "src_rotation": (4,),
    "vector_to_go": (3,),
    "workspace_bounds": (3, 3),
}
COMMANDS = {
    "base_displacement_vector": (2,),
    "base_displacement_vertical_rotation": (1,),
    "gripper_closedness_action": (1,),
    "rotation_delta": (3,),
    "world_vector": (3,),
}


def fractal_features(height: int = 256, width: int = 320) -> Features:
    """All of `fractal20220817_data` 0.1.0 (RT-1), as TFDS documents it."""
    steps = {f"observation/{name}": tensor(*shape) for name, shape in POINTS.items()}
    steps |= {"observation/image": image(height, width), "observation/natural_language_instruction": text()}
    steps |= {f"action/{name}": tensor(*shape) for name, shape in COMMANDS.items()}
    steps |= {"action/terminate_episode": tensor(3, dtype="int32"), "reward": tensor()}
    steps |= {name: tensor(dtype="bool") for name in ("is_first", "is_last", "is_terminal")}
    episode = {f"aspects/{name}": tensor(dtype="bool") for name in ASPECTS}
    for name in ATTRIBUTES:
        episode |= {f"attributes/{name}": tensor(dtype="int64"), f"attributes/{name}_name": text()}
    return Features(steps, episode=episode)


def features_tree(features: Features, image_encoding: str) -> dict[str, Any]:
    """The content of features.json."""
    steps = {"feature": _dict_tree(features.steps, image_encoding), "length": "-1"}
    members: dict[str, Any] = {"steps": {"pythonClassName": STEPS_CLASS, "sequence": steps}}
    if features.metadata:
        members["episode_metadata"] = _dict_tree(features.metadata, image_encoding)
    members |= _dict_tree(features.episode, image_encoding)["featuresDict"]["features"]
    return {"pythonClassName": DICT_CLASS, "featuresDict": {"features": members}}


def _dict_tree(features: Mapping[str, Feature], image_encoding: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    groups: dict[str, dict[str, Feature]] = {}
    for name, feature in features.items():
        group, slash, rest = name.partition("/")
        if slash:
            groups.setdefault(group, {})[rest] = feature
        else:
            members[name] = _leaf_tree(feature, image_encoding)
    for group, inner in groups.items():
        members[group] = _dict_tree(inner, image_encoding)
    return {"pythonClassName": DICT_CLASS, "featuresDict": {"features": members}}


def _leaf_tree(feature: Feature, image_encoding: str) -> dict[str, Any]:
    shape = {"dimensions": [str(side) for side in feature.shape]} if feature.shape else {}
    if feature.kind == "text":
        leaf: dict[str, Any] = {"pythonClassName": f"{FEATURE_PACKAGE}.text_feature.Text", "text": {}}
    elif feature.kind == "image":
        body = {"shape": shape, "dtype": "uint8", "encodingFormat": image_encoding}
        leaf = {"pythonClassName": f"{FEATURE_PACKAGE}.image_feature.Image", "image": body}
    else:
        class_name = "tensor_feature.Tensor" if feature.shape else "scalar.Scalar"
        body = {"shape": shape, "dtype": feature.dtype, "encoding": "none"}
        leaf = {"pythonClassName": f"{FEATURE_PACKAGE}.{class_name}", "tensor": body}
    return leaf | ({"description": feature.description} if feature.description else {})


def read_features_tree(tree: Mapping[str, Any]) -> Features:
    """The features that a features.json speaks of. Raises StairError when it is none of an RLDS data set."""
    try:
        members = tree["featuresDict"]["features"]
        steps = _flatten(members["steps"]["sequence"]["feature"], "")
        metadata = _flatten(members["episode_metadata"], "") if "episode_metadata" in members else {}
        episode: dict[str, Feature] = {}
        for name, member in members.items():
            if name not in ("steps", "episode_metadata"):
                episode |= _flatten(member, name)
    except (KeyError, TypeError) as error:
        raise StairError(
            f"features.json describes no RLDS episodes: {error!r} is missing",
            hint="a data set of episodes has `steps`, each with its features",
        ) from None
    return Features(steps, metadata, episode)


def _flatten(tree: Mapping[str, Any], prefix: str) -> dict[str, Feature]:
    if "featuresDict" in tree:
        result: dict[str, Feature] = {}
        for name, member in tree["featuresDict"]["features"].items():
            result |= _flatten(member, f"{prefix}/{name}" if prefix else name)
        return result
    described = tree.get("description", "")
    if "text" in tree:
        return {prefix: Feature("text", description=described)}
    kind = "image" if "image" in tree else "tensor"
    body = tree[kind]
    shape = tuple(int(side) for side in body.get("shape", {}).get("dimensions", ()))
    return {prefix: Feature(kind, shape, body.get("dtype", "uint8"), described)}


def info_tree(name: str, version: str, splits: Mapping[str, tuple[Sequence[int], int]]) -> dict[str, Any]:
    """The content of dataset_info.json; each split is its episodes per shard and its bytes."""
    return {
        "description": "Episodes in RLDS form, written by STAIR.",
        "fileFormat": "tfrecord",
        "moduleName": f"stair.{name}",
        "name": name,
        "releaseNotes": {version: "Written by STAIR."},
        "splits": [
            {
                "filepathTemplate": FILE_TEMPLATE,
                "name": split,
                "numBytes": str(num_bytes),
                "shardLengths": [str(length) for length in lengths],
            }
            for split, (lengths, num_bytes) in splits.items()
        ],
        "version": version,
    }


def shard_name(template: str, name: str, split: str, shard: int, shards: int) -> str:
    """The file name of one shard, e.g. bridge_dataset-train.tfrecord-00003-of-01024."""
    fields = {
        "DATASET": name,
        "SPLIT": split,
        "FILEFORMAT": "tfrecord",
        "SHARD_INDEX": f"{shard:05d}",
        "NUM_SHARDS": f"{shards:05d}",
        "SHARD_X_OF_Y": f"{shard:05d}-of-{shards:05d}",
    }
    return template.format(**fields)
