"""Two trainings are equal when not one digit differs, in any attempt."""

from __future__ import annotations

import json

from tools.drilling.losses import Seen, differences, read_values


def line(step: int, loss: str, speed: float = 1.0) -> str:
    rest = json.dumps({"lr": 0.001, "grad_norm": 2.5, "samples_per_s": speed, "attempt": 1})
    return f'{{"step": {step}, "loss": {loss}, ' + rest[1:] + "\n"


FILE = line(1, "3.4256999999999995") + line(2, "3.1")


def test_digits_are_compared_as_they_stand():
    reference = read_values(FILE)
    assert reference[1] == ("grad_norm=2.5", "loss=3.4256999999999995", "lr=0.001")
    seen = Seen()
    seen.add(FILE)
    assert differences(seen, reference) == []
    seen.add(FILE.replace("3.4256999999999995", "3.4256999999999996"))
    assert differences(seen, reference) == [
        "step 1: loss=3.4256999999999996, undisturbed loss=3.4256999999999995"
    ]


def test_what_depends_on_the_machine_does_not_count():
    seen = Seen()
    seen.add(line(1, "3.1", speed=7.0) + line(1, "3.1", speed=8.0))
    assert differences(seen, read_values(line(1, "3.1"))) == []


def test_steps_that_were_dropped_and_computed_again_are_remembered():
    seen = Seen()
    seen.add(FILE)
    seen.add(line(1, "3.4256999999999995"))  # resumed: step 2 was dropped
    assert seen.last == 2
    seen.add(line(1, "3.4256999999999995") + line(2, "3.2"))
    assert differences(seen, read_values(FILE)) == ["step 2: loss=3.2, undisturbed loss=3.1"]


def test_a_line_in_mid_write_is_left_out():
    assert list(read_values(FILE + '{"step": 3, "loss": 3')) == [1, 2]


def test_a_missing_step_is_a_difference():
    seen = Seen()
    seen.add(line(2, "3.1") + line(3, "3.0"))
    assert differences(seen, read_values(FILE)) == [
        "step 1 is in the undisturbed run only",
        "step 3 is in the drill only",
    ]
