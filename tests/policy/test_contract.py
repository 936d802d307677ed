"""What the two sides must agree on is checked by the name of the field."""

from dataclasses import replace

import pytest

from stair.errors import StairError
from stair.policy.contract import ActionConvention, PolicySpec, check_conventions

SPEC = PolicySpec("p", 16, 224, ("bridge_orig",), {"bridge_orig": ActionConvention()})


def test_a_handshake_comes_back_equal():
    assert PolicySpec.from_message(SPEC.to_message()) == SPEC


def test_equal_conventions_pass():
    check_conventions(SPEC, "bridge_orig", ActionConvention())


@pytest.mark.parametrize(
    ("field", "value"), [("dim", 8), ("rotation", "axis_angle"), ("gripper", "relative"), ("control_hz", 3.0)]
)
def test_a_difference_is_named(field, value):
    with pytest.raises(StairError, match=f"{field} differs"):
        check_conventions(SPEC, "bridge_orig", replace(ActionConvention(), **{field: value}))


def test_unknown_statistics_and_another_protocol_are_refused():
    with pytest.raises(StairError, match="no statistics for 'tabletop'"):
        check_conventions(SPEC, "tabletop", ActionConvention())
    with pytest.raises(StairError, match="protocol 99"):
        check_conventions(replace(SPEC, protocol=99), "bridge_orig", ActionConvention())
