"""What a policy server promises and what passes between it and a simulator; standard library only.

Both images import this room. The handshake (`PolicySpec`) says what the policy expects; a simulator that
means something else by an action is refused by the name of the field, before episode 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stair.errors import StairError

if TYPE_CHECKING:
    import numpy as np

PROTOCOL_VERSION = 1


@dataclass(frozen=True)
class ActionConvention:
    """What the numbers of an action mean."""

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
    image_size: int
    """Side the server resizes to; clients send images at simulator resolution."""
    unnorm_keys: tuple[str, ...]
    """Data sets whose statistics the policy knows."""
    conventions: dict[str, ActionConvention]
    """Per unnorm key."""
    needs_clip: bool = False
    protocol: int = PROTOCOL_VERSION

    def to_message(self) -> dict[str, Any]:
        """Plain values for the wire."""
        return asdict(self)

    @staticmethod
    def from_message(message: dict[str, Any]) -> PolicySpec:
        """The inverse of `to_message`. Raises StairError when the message is no STAIR handshake."""
        try:
            conventions = {k: ActionConvention(**v) for k, v in message["conventions"].items()}
            rest = {k: v for k, v in message.items() if k not in ("conventions", "unnorm_keys")}
            return PolicySpec(conventions=conventions, unnorm_keys=tuple(message["unnorm_keys"]), **rest)
        except (KeyError, TypeError, AttributeError) as error:
            raise StairError(
                f"the server's handshake is not a STAIR policy's: {error!r}",
                hint="is another program listening on that port?",
            ) from None


@dataclass(frozen=True)
class Query:
    """One request: act on this image."""

    image: np.ndarray
    """uint8 [H, W, 3]"""
    instruction: str
    unnorm_key: str
    seed: int
    """Seeds the noise that the chunk is integrated from."""


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
    if unnorm_key not in spec.conventions:
        raise StairError(
            f"policy '{spec.name}' has no statistics for '{unnorm_key}'",
            hint=f"it knows: {', '.join(spec.unnorm_keys)}",
        )
    mine, theirs = asdict(simulator), asdict(spec.conventions[unnorm_key])
    for field, wanted in mine.items():
        if theirs[field] != wanted:
            raise StairError(
                f"{field} differs: the simulator means {wanted!r}, "
                f"policy '{spec.name}' means {theirs[field]!r}",
                hint="evaluate on the robot the policy was trained for, or choose another unnorm_key",
            )
