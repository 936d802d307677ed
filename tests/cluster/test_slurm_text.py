"""Single values and lines as Slurm prints them."""

from __future__ import annotations

import pytest

from stair.cluster import slurm_text
from stair.cluster.slurm_text import Gres


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7-00:00:00", 604800),
        ("2-03", 2 * 86400 + 3 * 3600),
        ("1-01:30", 86400 + 5400),
        ("01:00:00", 3600),
        ("30", 1800),
        ("30:15", 1815),
        ("00:00:00", 0),
        ("0", 0),
        ("5 sec", 5),
        ("10 min", 600),
        ("UNLIMITED", None),
        ("NONE", None),
        ("INFINITE", None),
        ("Partition_Limit", None),
        ("", None),
    ],
)
def test_times(text: str, seconds: int | None):
    assert slurm_text.seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [
        ("6000M", 6000),
        ("4G", 4096),
        ("1T", 1048576),
        ("6000", 6000),
        ("2048K", 2),
        ("UNLIMITED", None),
        ("0", 0),
    ],
)
def test_memory_in_mebibytes(text: str, megabytes: int | None):
    assert slurm_text.megabytes(text) == megabytes


def test_memory_that_slurm_has_rounded_is_the_most_it_can_have_been():
    assert slurm_text.megabytes("1.46T") == int(1.465 * 1024**2) >= 1500 * 1024


@pytest.mark.parametrize("parse", [slurm_text.seconds, slurm_text.megabytes, slurm_text.count])
def test_nonsense_is_no_value(parse):
    with pytest.raises(ValueError, match="soon"):
        parse("soon")


def test_trackable_resources():
    found = slurm_text.tres("cpu=8,mem=6000M,node=4,gres/gpu:h100=8,billing=1.5K,fs/disk=N")
    assert found == {"cpu": 8, "mem": 6000, "node": 4, "gres/gpu:h100": 8, "billing": 1500}
    assert slurm_text.tres("") == slurm_text.tres("(null)") == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gpu:h100:8(S:0-1)", [("gpu", "h100", 8)]),
        ("gpu:8", [("gpu", "", 8)]),
        ("gpu", [("gpu", "", 1)]),
        ("(null)", []),
        ("", []),
        ("gpu:a100:3(S:0),gpu:a100_1g.5gb:7(S:0,1)", [("gpu", "a100", 3), ("gpu", "a100_1g.5gb", 7)]),
        ("shard:a100:no_consume:12", [("shard", "a100", 12)]),
        ("bandwidth:lustre:4K", [("bandwidth", "lustre", 4000)]),
    ],
)
def test_generic_resources(text: str, found: list[tuple[str, str, int]]):
    assert slurm_text.gres(text) == tuple(Gres(*each) for each in found)


@pytest.mark.parametrize(
    ("text", "state", "flags"),
    [
        ("IDLE", "IDLE", set()),
        ("IDLE+DRAIN", "IDLE", {"DRAIN"}),
        ("MIXED*", "MIXED", {"NOT_RESPONDING"}),
        ("DOWN*+DRAIN+INVALID_REG", "DOWN", {"NOT_RESPONDING", "DRAIN", "INVALID_REG"}),
        ("IDLE~", "IDLE", {"POWERED_DOWN"}),
        ("MIXED+CLOUD+POWERING_UP#", "MIXED", {"CLOUD", "POWERING_UP"}),
        ("idle", "IDLE", set()),
        ("", "UNKNOWN", set()),
    ],
)
def test_node_states(text: str, state: str, flags: set[str]):
    assert slurm_text.node_state(text) == (state, frozenset(flags))


def test_values_with_blanks_and_equal_signs_stay_with_their_field():
    line = (
        "NodeName=n1 OS=Linux 6.1 #1 SMP  State=IDLE+DRAIN Owner=N/A MCS_label= CfgTRES=cpu=8,mem=1G "
        "Reason=State=UP is not true, a|b [root@now] Comment=rack 7 Gres=none Extra=x=1 y=2"
    )
    assert slurm_text.records(line) == [
        {
            "NodeName": "n1",
            "OS": "Linux 6.1 #1 SMP",
            "State": "IDLE+DRAIN",
            "Owner": "N/A",
            "MCS_label": "",
            "CfgTRES": "cpu=8,mem=1G",
            "Reason": "State=UP is not true, a|b [root@now]",
            "Comment": "rack 7 Gres=none",
            "Extra": "x=1 y=2",
        }
    ]


def test_lines_that_are_no_records_are_left_out():
    assert slurm_text.records("\nNo nodes in the system\n") == []
    assert slurm_text.config("Configuration data as of now\nA = 1\n\nB=\n") == {"A": "1", "B": ""}


def test_tables_are_told_apart_by_their_headers_whatever_prompts_stand_between():
    text = (
        "sacctmgr: show qos\nName|Flags\nnormal|\nshort|DenyOnLimit,NoDecay\nodd|a|b\n"
        "sacctmgr: sacctmgr: User|Account\nme|lab\nsacctmgr: \n"
    )
    assert slurm_text.tables(text, {"Name": "qos", "User": "users"}) == {
        "qos": [{"Name": "normal", "Flags": ""}, {"Name": "short", "Flags": "DenyOnLimit,NoDecay"}],
        "users": [{"User": "me", "Account": "lab"}],
    }
