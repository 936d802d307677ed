"""Writes down what a real cluster's commands print, for tests: python -m tests.cluster.record FOLDER

Asks the cluster that PATH and SLURM_CONF lead to, the very questions of stair.cluster.slurm, and leaves
config.txt, partition.txt, node.txt and accounting.txt. Paths of the machine are taken out.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from stair.cluster.slurm import ACCOUNTING, CONFIG, NODES, PARTITIONS, accounting_questions, ask

FILES = {CONFIG: "config.txt", PARTITIONS: "partition.txt", NODES: "node.txt", ACCOUNTING: "accounting.txt"}


def record(folder: Path, user: str) -> None:
    """Fills `folder`. The texts of what does not answer stay empty."""
    questions = {command: accounting_questions(user) if command == ACCOUNTING else "" for command in FILES}
    folder.mkdir(parents=True, exist_ok=True)
    for command, answer in ask(questions, os.environ, timeout_s=30).items():
        text = re.sub(
            r"/(?:tmp|root|home)/[^\s,:]*?/(etc|log|pid|munge|spool|dev|ctld)/",
            r"/srv/slurm/\1/",
            answer.text,
        )
        (folder / FILES[tuple(command)]).write_text(text)


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "root")
