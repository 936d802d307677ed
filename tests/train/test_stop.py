"""Being asked to stop."""

from __future__ import annotations

import os
import signal

from stair.train.stop import StopRequest


def test_any_number_of_either_signal_sets_one_flag_and_earlier_handlers_come_back() -> None:
    earlier = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop.wanted
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.wanted
    assert signal.getsignal(signal.SIGTERM) is earlier
