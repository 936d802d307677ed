"""What holds for all tests: few threads, and skips that count where parts are required.

With STAIR_REQUIRE=all in the environment a skipped test is a failure, unless it is marked `optional`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
hypothesis.settings.register_profile("untimed", deadline=None)  # any process may stand still for a while
hypothesis.settings.load_profile("untimed")
REQUIRED = os.environ.get("STAIR_REQUIRE") == "all"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "optional: may be skipped even where every part is required")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if (
        REQUIRED
        and report.skipped
        and not hasattr(report, "wasxfail")
        and not item.get_closest_marker("optional")
    ):
        report.outcome = "failed"
        report.longrepr = f"a required part is missing: {call.excinfo.value if call.excinfo else 'skipped'}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    report = yield
    if REQUIRED and report.skipped:  # a whole file that says importorskip
        report.outcome = "failed"
        report.longrepr = f"a required part is missing: {report.longrepr}"
    return report


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Ctrl-C works, also where the tests run in the background: a shell has it ignored there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
