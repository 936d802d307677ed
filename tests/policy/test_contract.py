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


def test_older_and_newer_handshakes_are_understood():
    old = {
        name: SPEC.to_message()[name]
        for name in ("name", "chunk", "image_size", "unnorm_keys", "conventions")
    }
    assert PolicySpec.from_message(old) == SPEC
    assert PolicySpec.from_message({**SPEC.to_message(), "from_the_future": 1}) == SPEC
    newer = {**SPEC.to_message(), "conventions": {"bridge_orig": {"dim": 7, "from_the_future": 1}}}
    assert PolicySpec.from_message(newer) == SPEC
    with pytest.raises(StairError, match="handshake is not"):
        PolicySpec.from_message({**old, "conventions": [1]})


def test_ranges_and_horizons_come_back_equal():
    told = replace(SPEC, ensemble_horizons={"a": 7}, action_ranges={"a": ((0.0, 1.0), (2.0, 3.0))})
    assert PolicySpec.from_message(told.to_message()) == told


def test_what_is_not_stated_does_not_differ():
    silent = replace(SPEC, unnorm_keys=(), conventions={})
    check_conventions(silent, "anything", ActionConvention())
    partly = replace(silent, conventions={"": ActionConvention(0, "", "delta_rpy_rad", "", 0)})
    check_conventions(partly, "anything", ActionConvention())
    with pytest.raises(StairError, match="rotation differs"):
        check_conventions(partly, "anything", replace(ActionConvention(), rotation="quaternion"))
