"""An all-reduce between two: is the sum right, how fast does it come, and which side fails.

Takes a Party of two nodes for srun, or nothing for two processes of this machine (loopback, or two of its
GPUs), hands on one fact. The surprise: the side that complains is often not the side that fails, since it
only waited in vain; so both are asked how far they came, and the one that came less far is named.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from stair.console import say
from stair.doctor.deep import peer
from stair.doctor.deep.child import Ended, at_once, run
from stair.doctor.deep.gpus import Gpu
from stair.doctor.deep.inside import Place
from stair.doctor.deep.links import PORTS
from stair.doctor.deep.peer import BESIDE, Errand
from stair.doctor.deep.remote import program
from stair.doctor.luggage import read_visits
from stair.doctor.srun import Party, run_srun
from stair.errors import StairError

STAGES = ("start", "torch", "meet", "group", "sum", "measure", "done")
"""What the two go through, in order."""
Facts = dict[str, Any]


def between_nodes(
    party: Party,
    errand: Errand,
    environment: Mapping[str, str] = os.environ,
    *,
    wait_s: float = 60.0,
) -> Facts:
    """Adds up between two nodes, by one srun for `party`, which has a count of two or two names.

    With nccl it wants `gres` and memory for CUDA, 8 GB. `wait_s` is for nodes to be free.
    """
    text = program(peer, asdict(errand))
    say(f"an all-reduce between two nodes ({errand.backend}), {errand.limit_s:g} s at most")
    try:
        said = run_srun(party, text, environment, wait_s=wait_s, limit_s=errand.limit_s + 30)
    except StairError as error:
        return {"failed": error.what, "how": "error"}
    visits = read_visits(said.lines).values()
    answers = [visit.deep["all_reduce"] for visit in visits if visit.deep]
    if not answers and not said.nodes:
        return {"failed": f"srun: {said.complaint or 'no node was given'}", "how": "error"}
    words = {**said.words, **said.lost}
    return _fact(errand, "nodes", answers, said.nodes, words)


def on_this_machine(
    errand: Errand, gpus: Sequence[Gpu] = (), environment: Mapping[str, str] = os.environ
) -> Facts:
    """The thin version: two processes over loopback, or with nccl the first two GPUs."""
    errand = replace(errand, backend="nccl" if len(gpus) > 1 else "gloo", hosts=("127.0.0.1",) * 2)
    errand = replace(errand, variables={"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"})
    errand = replace(errand, port=free_port())
    say(f"an all-reduce between two processes ({errand.backend}), {errand.limit_s:g} s at most")

    def one(rank: int) -> Ended:
        mine = {**errand.variables, **(gpus[rank].variables if len(gpus) > 1 else {})}
        words = [json.dumps(asdict(replace(errand, rank=rank, variables=mine)))]
        return run(*Place().start(peer, words, host=environment), errand.limit_s + 30)

    both = at_once([partial(one, 0), partial(one, 1)], 2)
    answers = [json.loads(ended.out.splitlines()[-1]) for ended in both if ended.code == 0]
    return _fact(errand, "processes", answers, (), {"": both[0].last_words})


def free_port() -> int:
    """One that nobody has, and that Linux gives to nobody before torch has come up and listens there: of the
    ports that it chooses from, any connection of this machine may take one in those seconds.
    """
    ours = PORTS[BESIDE::16]
    for port in secrets.SystemRandom().sample(ours, len(ours)):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("", port))
            return port
    raise StairError(f"all ports from {PORTS.start} to {PORTS.stop - 1} are taken", hint="ss -tln")


def _fact(
    errand: Errand, between: str, answers: Sequence[Facts], nodes: Sequence[str], words: Mapping[str, str]
) -> Facts:
    fact = {"backend": errand.backend, "between": between, **compare(answers, nodes, words)}
    say(f"  {summary(fact)}")
    return fact


def compare(
    answers: Sequence[Facts], nodes: Sequence[str] = (), words: Mapping[str, str] | None = None
) -> Facts:
    """One fact from the answers of both sides, of which any may be missing. Pure.

    `nodes` and `words` are of srun: where it began, and what was said there besides. `ok`: both came to the
    end with the right sum. `at` names the side to look at.
    """
    answers = sorted(answers, key=lambda answer: answer["rank"])
    hosts = next((answer["hosts"] for answer in answers if answer["hosts"]), list(nodes))
    fact: Facts = {"ok": False, "wrong": False, "sides": answers, "hosts": hosts, "at": "", "error": ""}
    if len(answers) < 2:
        silent = next((name for name in hosts if name not in [answer["host"] for answer in answers]), "")
        error = (words or {}).get(silent) or "this side gave no answer"
        return fact | {"at": silent, "stage": "start", "error": error}
    lacking = next((answer for answer in answers if answer.get("no_torch")), None)
    if lacking:
        return {"failed": f"no torch on {lacking['host']}: {lacking['error']}", "how": "missing"}
    failed = [answer for answer in answers if answer["error"]]
    if failed:
        # Of two that did not meet, the second one dialled: it knows more than the first, which waited.
        first = min(failed, key=lambda answer: (STAGES.index(answer["stage"]), -answer["rank"]))
        return fact | {"at": first["host"], "stage": first["stage"], "error": first["error"]}
    wrong = [answer["host"] for answer in answers if not answer["right"]]
    if wrong:
        return fact | {"at": ", ".join(wrong), "stage": "sum", "wrong": True, "error": "the sum is wrong"}
    slower = min(answers, key=lambda answer: answer["bus_gb_s"])
    rates = {name: slower[name] for name in ("bus_gb_s", "latency_us", "message_mb")}
    return fact | {"ok": True, "stage": "done", **rates}


def summary(fact: Facts) -> str:
    """One line about it."""
    if fact.get("failed"):
        return str(fact["failed"])
    if not fact["ok"]:
        return f"{fact['at'] or 'somewhere'}, at '{fact['stage']}': {fact['error']}"
    return f"right sum, {fact['bus_gb_s']:g} GB/s, {fact['latency_us']:g} us"
