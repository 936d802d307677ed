"""Large blocks that come and go are not asked of the kernel each time."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from stair.policy.memory import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
for _ in range(3):
    bytes(bytearray(4_000_000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bytes(bytearray(4_000_000))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_was_used_once_is_used_again():
    assert faults("kept") * 10 < faults("plain")
