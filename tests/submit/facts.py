"""A cluster as a value, for tests of preflight: eight nodes, three partitions, two accounts of a faculty."""

from __future__ import annotations

from stair.cluster.limits import Association, Limits, Qos
from stair.cluster.slurm_facts import Node, Partition, SlurmFacts
from stair.cluster.slurm_text import Gres

LARGE = [
    Node(f"a{n}", cpus=64, memory=512_000, gres=(Gres("gpu", "h100", 8),), features=frozenset({"h100"}))
    for n in range(1, 5)
]
SMALL = [Node(f"b{n}", cpus=16, memory=64_000, features=frozenset({"cpu"})) for n in range(1, 5)]
DAY = 86400

FACTS = SlurmFacts(
    version="23.11.10",
    cluster="lab",
    max_array_size=1001,
    max_job_count=10_000,
    enforce=frozenset({"associations", "limits", "qos"}),
    accounting=True,
    gres_types=("gpu",),
    partitions={
        part.name: part
        for part in (
            Partition("gpu", default=True, nodes=("a1", "a2", "a3", "a4"), max_time_s=2 * DAY, max_nodes=3),
            Partition("cpu", nodes=("b1", "b2", "b3", "b4"), max_time_s=7 * DAY),
            Partition("all", nodes=tuple(node.name for node in (*LARGE, *SMALL)), max_time_s=DAY // 4),
        )
    },
    nodes={node.name: node for node in (*LARGE, *SMALL)},
    user="ada",
    groups=frozenset({"users"}),
    default_account="robots",
    associations=(
        Association("robots", user="ada", qos=frozenset({"normal", "quick"}), default_qos="normal"),
        Association("vision", user="ada", qos=frozenset({"normal"}), limits=Limits(submitted=100)),
        Association("robots", parent="faculty", limits=Limits(group={"gres/gpu": 16})),
        Association("vision", parent="faculty"),
        Association("faculty", limits=Limits(group={"gres/gpu": 24}, group_submitted=500)),
    ),
    qos={
        "normal": Qos("normal"),
        "quick": Qos("quick", flags=frozenset({"denyonlimit"}), limits=Limits(wall_s=3600)),
    },
)
