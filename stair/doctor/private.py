"""What is private, by its looks and by the place where it stands.

Takes texts and trees of plain values, hands on patterns and the names that occur in them; redact.py replaces
them. Pure. The surprise: most names cannot be told by their looks (a host may be called `zebra`), so the
places are known where names stand, and are then looked for everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from stair.cluster.hostlist import expand
from stair.errors import UsageError

SECRET_NAME = re.compile(
    r"(?i)(token|secret|passw|passphrase|credential|api_?key|access_?key|private_?key|_key$|^key$|_pat$|_auth$|cookie|dsn$)"
)
USER_NAMES = re.compile(r"(?i)^(user|logname|username|sudo_user|slurm_job_user|slurmd_user)$")
ACCOUNT_NAMES = re.compile(
    r"(?i)^(slurm_job_account|sbatch_account|slurm_account|salloc_account|account|project|accounts)$"
)
HOST_NAMES = re.compile(
    r"(?i)^(host|hostname|slurmd_nodename|slurm_submit_host|slurm_launch_node_ipaddr|nodename|master_addr)$"
)
HOST_LISTS = re.compile(r"(?i)^(slurm_(job_)?nodelist|slurm_step_nodelist|nodes|nodelist)$")
OWNER = re.compile("^owner$")
NAME = re.compile(r"[A-Za-z_][\w.@-]*")
"""Addresses and sentences are none."""
KNOWN = frozenset(
    (
        *("root", "nobody", "daemon", "video", "render", "users", "docker", "sudo", "adm", "wheel", "staff"),
        *("disk", "kvm", "input", "audio", "plugdev", "nogroup", "tty", "games", "man", "bin", "sys", "mail"),
        *("local", "localhost", "here", "login", "compute", "image", "node", "host", "gpu", "cpu"),
        *("slurm", "munge", "apptainer", "stair"),
    )
)
"""Words that are names of nobody, or so common that to replace them would spoil every sentence."""
KEPT = re.compile(
    r"(?i)^(stair\.commit|stair\.lock_sha256|stair\.simpler_env|stair\.real2sim|expected_lock)$"
)
"""Long random words that say which code and which image this is."""
SYSTEM = (
    *("usr", "etc", "opt", "dev", "proc", "sys", "lib", "lib32", "lib64", "bin", "sbin", "run", "boot"),
    *(".singularity.d", "nix", "snap", "host"),
)
"""Folders that are nobody's; of any other path only the last name is told."""
PUBLIC = (
    *("nvidia.com", "github.com", "apptainer.org", "pytorch.org", "khronos.org", "lunarg.com"),
    "schedmd.com",
)
"""Whose documentation a cure may name."""
ENDS = (
    "edu|org|com|net|gov|mil|int|info|io|ai|de|uk|fr|ch|at|nl|be|it|es|se|no|fi|dk|pl|cz|eu|jp|cn|kr|in|au|ca|us"
    "|local|internal|lan|localdomain|cluster|hpc|test"
)
HOME = re.compile(
    r"(?<![\w.-])/(?:[\w.-]+/)*?(?:home|homes|users|Users|people|user)(?:/[a-z]\d?)?/([^/\s:,;'\"]+)"
)
PATH = re.compile(r"(?<![\w.~:/-])/(?:[^\s/:;,'\"()<>|=]+/)+[^\s/:;,'\"()<>|=]*")
URL_LOGIN = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)[^\s/@'\"]+@")
ASSIGNED = re.compile(
    r"(?i)([\w-]*(?:token|secret|passw(?:or)?d|api[_-]?key|access[_-]?key|credential)[\w-]*['\"]?\s*[=:]\s*['\"]?)"
    r"([^\s,;'\"]+)"
)
BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
TOKEN = re.compile(
    r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abprs]-|AKIA|ASIA|eyJ|pypi-|wandb_)[\w.-]{8,}"
)
GPU_UUID = re.compile(r"(?i)\b(GPU|MIG|MIG-GPU)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:/\d+/\d+)?")
UUID = re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
MAC = re.compile(r"(?i)(?<![\w:])(?:[0-9a-f]{2}[:-]){5,19}[0-9a-f]{2}(?![\w:])")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)")
IPV6 = re.compile(r"(?i)(?<![\w:.])[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:.]*(?:%\w+)?(?![\w:])")
MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*")
DOMAIN = re.compile(rf"(?i)(?<![\w/.-])(?:[a-z0-9](?:[\w-]*[a-z0-9])?\.)+(?:{ENDS})\b(?![\w.-]*\.\w)")
RANDOM = re.compile(r"[A-Za-z0-9+_=-]{20,}")


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds what nobody else shall read."""
    return bool(SECRET_NAME.search(name))


def names_in(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Kind and name of everything in a tree that is a name by the place where it stands."""
    if isinstance(value, Mapping):
        if "stair_doctor" in value and isinstance(value.get("name"), str):
            yield "node", value["name"]
        for name, each in value.items():
            if isinstance(each, str) and key == "variables" and is_secret_name(str(name)):
                yield "secret", each
            yield from names_in(each, str(name))
    elif isinstance(value, (list, tuple)):
        for each in value:
            if isinstance(each, str) and key == "groups":
                yield "group", each
            yield from names_in(each, key)
    elif isinstance(value, str):
        yield from _names_of(value, key)


def _names_of(text: str, key: str) -> Iterator[tuple[str, str]]:
    readers: tuple[tuple[re.Pattern[str], str, Callable[[str], Iterable[str]]], ...] = (
        (USER_NAMES, "user", lambda words: [words]),
        (ACCOUNT_NAMES, "account", lambda words: words.split(",")),
        (HOST_NAMES, "node", lambda words: [words, words.partition(".")[0]]),
        (HOST_LISTS, "node", _hosts),
        (OWNER, "user", lambda words: words.split(":")),
    )
    for pattern, kind, split in readers:
        if pattern.match(key):
            yield from ((kind, name) for name in split(text) if NAME.fullmatch(name))
    for match in HOME.finditer(text):
        yield "user", match[1]


def _hosts(text: str) -> Iterable[str]:
    try:
        return expand(text)[:10_000]
    except UsageError:
        return ()
