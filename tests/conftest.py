"""What holds for all tests: few threads, and skips that count where parts are required.

With STAIR_REQUIRE=all in the environment a skipped test is a failure, unless it is marked `optional`.
"""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
REQUIRED = os.environ.get("STAIR_REQUIRE") == "all"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "optional: may be skipped even where every part is required")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests go to one worker (`--dist loadgroup`). Those that need a cluster all go to the same one,
    where they begin first: two workers would only wait for each other."""
    for item in items:
        file = f"{item.path.parent.name}/{item.path.stem}"
        live = file.startswith("slurm/") or file == "lines/test_cluster"
        item.add_marker(pytest.mark.xdist_group("slurm" if live else file))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args != ("slurm",))


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
