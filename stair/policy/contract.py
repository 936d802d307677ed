"""What a policy server promises and what passes between it and a simulator; standard library only.

Both images import this room. The handshake (`PolicySpec`) says what the policy expects; a simulator that
means something else by an action is refused by the name of the field, before episode 1. The surprise: other
people's servers say less than ours, so most of a handshake may be empty, which means *not stated*.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

from stair.errors import StairError

if TYPE_CHECKING:
    import numpy as np

PROTOCOL_VERSION = 1
IMAGE = "rgb_hwc_uint8"
"""The form in which every image travels and every policy of ours takes it."""

Range = tuple[tuple[float, ...], tuple[float, ...]]
"""Lowest and highest usual value of each dimension of an action (q01 and q99 of the training data)."""


@dataclass(frozen=True)
class ActionConvention:
    """What the numbers of an action mean. Of a policy's, an empty word or a zero is not stated."""

    dim: int = 7
    translation: str = "delta_xyz_m"
    rotation: str = "delta_rpy_rad"
    gripper: str = "absolute_1_open"
    control_hz: float = 5.0


@dataclass(frozen=True)
class PolicySpec:
    """The handshake: sent by the server to every client that connects."""

    name: str
    """The model folder or recipe the policy came from."""
    chunk: int
    """Actions in an answer; 0: not stated."""
    image_size: int
    """Side the server resizes to; clients send images at simulator resolution. 0: not stated."""
    unnorm_keys: tuple[str, ...]
    """Data sets whose statistics the policy knows; empty: not stated."""
    conventions: dict[str, ActionConvention]
    """Per unnorm key; under the empty key, for whatever is asked."""
    needs_clip: bool = False
    protocol: int = PROTOCOL_VERSION
    speaks: str = "stair"
    """The protocol it was reached by, one of stair/policy/dialects.py."""
    image: str = IMAGE
    """Form of the image that it expects; empty: not stated."""
    control: str = "chunks"
    """chunks: answers are the model's. executed, ensembled: the server has already chosen the actions that
    a robot shall run (`python -m stair.serve --mode robot`), and nobody should blend them again."""
    ensemble_horizons: dict[str, int] = field(default_factory=dict)
    """Chunks the policy was meant to be ensembled over, per unnorm key."""
    action_ranges: dict[str, Range] = field(default_factory=dict)
    """q01 and q99 of the training data's actions, per unnorm key: what an answer can be judged by."""

    def convention_for(self, unnorm_key: str) -> ActionConvention | None:
        """What the policy means by an action; None when it does not say."""
        return self.conventions.get(unnorm_key) or self.conventions.get("")

    def to_message(self) -> dict[str, Any]:
        """Plain values for the wire."""
        return asdict(self)

    @staticmethod
    def from_message(message: dict[str, Any]) -> PolicySpec:
        """The inverse of `to_message`. Raises StairError when the message is no STAIR handshake.

        Fields that an older server does not send keep their defaults, those of a newer one are passed over.
        """
        known = {each.name for each in fields(PolicySpec)}
        try:
            given = {name: value for name, value in message.items() if name in known}
            given["conventions"] = {k: _convention(v) for k, v in given["conventions"].items()}
            given["unnorm_keys"] = tuple(given["unnorm_keys"])
            given["action_ranges"] = {
                key: (tuple(low), tuple(high)) for key, (low, high) in given.get("action_ranges", {}).items()
            }
            return PolicySpec(**given)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StairError(
                f"the server's handshake is not a STAIR policy's: {error!r}",
                hint="is another program listening on that port?",
            ) from None


def _convention(message: dict[str, Any]) -> ActionConvention:
    known = {each.name for each in fields(ActionConvention)}
    return ActionConvention(**{name: value for name, value in message.items() if name in known})


@dataclass(frozen=True)
class Query:
    """One request: act on this image."""

    image: np.ndarray
    """uint8 [H, W, 3]"""
    instruction: str
    unnorm_key: str
    seed: int
    """Seeds the noise that the chunk is integrated from."""
    first: bool = False
    """Whether an episode begins here, or a new instruction: servers that remember steps forget them."""


class Policy(Protocol):
    """Whatever answers queries: a connection to a server, or a model in this process."""

    spec: PolicySpec

    def act(self, query: Query) -> np.ndarray:
        """A chunk of physical actions, float32 [K, 7]."""
        ...

    def close(self) -> None: ...


def check_conventions(spec: PolicySpec, unnorm_key: str, simulator: ActionConvention) -> None:
    """Raises StairError naming the first thing that policy and simulator understand differently."""
    if spec.protocol != PROTOCOL_VERSION:
        raise StairError(
            f"the server speaks protocol {spec.protocol}, this client {PROTOCOL_VERSION}",
            hint="use the same STAIR version on both sides",
        )
    if spec.unnorm_keys and unnorm_key not in spec.unnorm_keys:
        raise StairError(
            f"policy '{spec.name}' has no statistics for '{unnorm_key}'",
            hint=f"it knows: {', '.join(spec.unnorm_keys)}",
        )
    for name, (wanted, meant) in differences(spec, unnorm_key, simulator).items():
        raise StairError(
            f"{name} differs: the simulator means {wanted!r}, policy '{spec.name}' means {meant!r}",
            hint="evaluate on the robot the policy was trained for, or choose another unnorm_key",
        )


def differences(spec: PolicySpec, unnorm_key: str, simulator: ActionConvention) -> dict[str, tuple[Any, Any]]:
    """Field → (what the simulator means, what the policy means), where both say it and disagree."""
    stated = spec.convention_for(unnorm_key)
    if stated is None:
        return {}
    mine, theirs = asdict(simulator), asdict(stated)
    return {name: (mine[name], theirs[name]) for name in mine if theirs[name] and theirs[name] != mine[name]}
