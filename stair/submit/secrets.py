"""No secret in a plan, a script, an argv, a log; and how those reach the trainer that must.

Takes texts and environments, hands on findings, names and redacted texts. What Slurm keeps of a submission
(22.05, looked up on a real one): slurmctld's StateSaveLocation has the script and sbatch's whole environment
until the job is forgotten; with AccountingStoreFlags=job_env or job_script slurmdbd has them for good
(sacct(1), --env-vars). `scontrol show job` and squeue show options and comment to everyone; in /proc of a
node an argv is for everyone, an environment for its user.

So sbatch runs in an environment of few names (`exported`), and secrets never pass through Slurm: the node's
task reads them from the user's own file (`secrets_for`), ~/.config/stair/secrets.env, as wandb reads
~/.netrc. The surprise: sbatch's own `--export=NAMES` is no way to be short, because it makes Slurm run the
user's login shell on the node, whose start files set what they like.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from stair.errors import StairError, UsageError
from stair.frozen import frozen

SHORTEST = 8
"""Signs of the shortest value that is looked for in texts."""
PASSED = (
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH"),
    *("SLURM_CONF", "SLURM_CONF_SERVER", "APPTAINER_CACHEDIR", "APPTAINER_TMPDIR"),
    *("MODULEPATH", "MODULESHOME", "LOADEDMODULES", "LMOD_CMD", "LMOD_DIR", "LMOD_PKG"),
)
"""Variables every job gets, besides LC_*. No TMPDIR: nodes have their own. No BASH_ENV: bash runs it."""
OUTER_JOB = re.compile(r"(SLURM|SLURMD|SBATCH|SRUN|SALLOC|SQUEUE|SUBMITIT|PMI|PMIX|OMPI|PRTE|PALS)_|PMI\d")
NAMES = r"(?i:(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|CREDENTIAL|AUTH|AUTHORIZATION)S?)"
SETTINGS = (
    r"(?i:(api|access|private|secret|account)_?keys?|.*secrets?|.*passw(or)?d|.*passphrase|.*credentials?"
    r"|(.*_)?token|auth|authorization)"
)
"""Last parts of dotted names that hold a secret whatever their value is."""
SHAPES = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "a GitHub token": r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})",
    "a GitLab token": r"\bglpat-[\w-]{20,}",
    "an API key": r"\b(sk|pk)-(?=[\w-]*\d)[\w-]{20,}",
    "an AWS key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Google key": r"\bAIza[\w-]{35}",
    "a Slack token": r"\bxox[abprs]-[\w-]{10,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a signed web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*",
    "a password in an address": r"(?<=://)[^\s/:@]*:[^\s/:@]+(?=@)",
    # Forty hexadecimal digits alone are a commit; after such a name they are a key of wandb.
    "a key": r"(?i:(?<=key)|(?<=token)|(?<=password)|(?<=secret))[\"']?\s*[=:\s]\s*[\"']?[0-9a-f]{40}\b",
}


@frozen
class Finding:
    """Where a secret stands. It never says which."""

    setting: str
    what: str
    """Such as "the value of WANDB_API_KEY"."""


def find_secrets(texts: Mapping[str, str], environment: Mapping[str, str]) -> list[Finding]:
    """Secrets in texts by dotted name: values of secret-looking variables, known shapes, telling names."""
    known = _secret_values(environment)
    found = []
    for setting, text in texts.items():
        last = setting.rpartition(".")[2]
        said = f"{last}={text}"
        what = next((f"the value of {name}" for value, name in known.items() if value in text), "")
        what = what or next((kind for kind, shape in SHAPES.items() if re.search(shape, said)), "")
        if not what and re.fullmatch(SETTINGS, last) and _may_be_secret(text):
            what = f"a {last}"
        if what:
            found.append(Finding(setting, what))
    return found


def refuse_secrets(plan: object, environment: Mapping[str, str]) -> None:
    """Raises UsageError when a plan, or any tree of settings, holds a secret: the name, not the value."""
    findings = find_secrets(dotted_texts(plan), environment)
    findings.sort(
        key=lambda finding: ".settings." not in finding.setting
    )  # rather what was set than what came of it
    for finding in findings:
        name = finding.setting.removeprefix("steps.").replace(".settings.", ".")
        raise UsageError(
            f"'{name}' contains {finding.what}, and settings are written down",
            hint=f"leave it out; name its variable in container.keep and put NAME=VALUE into {_tilde()}",
        )


def dotted_texts(tree: object, name: str = "") -> dict[str, str]:
    """Every text in a tree of dataclasses, mappings and sequences, by its dotted name.

    Elements of a sequence go by their `name` where they have one; a sequence of words is one text.
    """
    if isinstance(tree, str):
        return {name: tree}
    if dataclasses.is_dataclass(tree):
        tree = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    if isinstance(tree, Mapping):
        pairs = list(tree.items())
    elif isinstance(tree, (list, tuple)):
        if tree and all(isinstance(value, str) for value in tree):
            return {name: " ".join(tree)}
        pairs = [(getattr(value, "name", place), value) for place, value in enumerate(tree)]
    else:
        return {}
    texts: dict[str, str] = {}
    for key, value in pairs:
        texts |= dotted_texts(value, f"{name}.{key}" if name else str(key))
    return texts


def redact(text: str, environment: Mapping[str, str]) -> str:
    """The text with secrets replaced, for reports and for what is recorded of changed code."""
    known = _secret_values(environment)
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, f"[{known[value]} not shown]")
    for kind, shape in SHAPES.items():
        text = re.sub(shape, f"[{kind} not shown]", text)
    return text


def scrub(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what an outer job set: for Slurm's commands and for what starts new jobs."""
    return {
        name: value
        for name, value in environment.items()
        if name in ("SLURM_CONF", "SLURM_CONF_SERVER") or not OUTER_JOB.match(name)
    }


def cluster_environment(environment: Mapping[str, str], slurm_conf: str) -> dict[str, str]:
    """The environment in which Slurm's commands speak to the profile's cluster, from inside a job too."""
    found = scrub(environment)
    if slurm_conf:
        found["SLURM_CONF"] = os.path.expanduser(os.path.expandvars(slurm_conf))
    return found


def exported(environment: Mapping[str, str], keep: Iterable[str] = ()) -> tuple[str, ...]:
    """The names that a job inherits from who submits it: the usual ones and those of `keep`, no secrets."""
    wanted = {*PASSED, *keep}
    return tuple(
        sorted(
            name
            for name, value in scrub(environment).items()
            if (name in wanted or name.startswith("LC_")) and not is_secret(name, value)
        )
    )


def is_secret(name: str, value: str) -> bool:
    """Whether a variable holds a secret, by its name, unless the value is a path; or by the value's shape."""
    parts = re.split(r"[^A-Za-z]+", name)
    telling = r"(KEY|TOKEN|SECRET|PASSWORD)$"
    named = any(re.fullmatch(NAMES, part) or re.search(telling, part) for part in parts)
    if named and value and not re.match(r"[/~]", value):
        return True
    return any(re.search(shape, value) for shape in SHAPES.values())


def secrets_for(keep: Sequence[str], *, home: Path | None = None) -> dict[str, str]:
    """The secrets among the kept names, read on the node from the user's own file.

    Lines are NAME=VALUE, taken as they are; blank ones and those with # are skipped. No file, no secrets.
    Raises StairError when the file is others' too or a line is no such line; a value is never shown.
    """
    path = secrets_file(home)
    try:
        status = path.stat()
        if status.st_mode & 0o077 or status.st_uid not in (0, os.getuid()):
            raise StairError(f"{path} is not for its user alone", hint=f"chmod 600 {path}")
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StairError(f"cannot read {path}: {said}", hint="see its owner and mode") from None
    secrets = {}
    for number, line in enumerate(lines, start=1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not (equals and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)):
            raise StairError(f"{path}:{number} is not of the form NAME=VALUE", hint="no quotes, no export")
        secrets[name] = value
    return {name: secrets[name] for name in keep if name in secrets}


def check_kept(environment: Mapping[str, str], keep: Sequence[str], *, home: Path | None = None) -> None:
    """Raises UsageError for a kept secret that is set here and would not reach the job."""
    there = secrets_for(keep, home=home)
    for name in keep:
        if name not in there and is_secret(name, environment.get(name, "")):
            raise UsageError(
                f"{name} is to be kept, and Slurm would store what is submitted with a job",
                hint=f"put it as NAME=VALUE into {_tilde()} and chmod 600 that; jobs read it on the node",
            )


def secrets_file(home: Path | None = None) -> Path:
    """Where a user keeps what only the job shall know."""
    return (home or Path.home()) / ".config" / "stair" / "secrets.env"


def _tilde() -> str:
    return "~/.config/stair/secrets.env"


def _secret_values(environment: Mapping[str, str]) -> dict[str, str]:
    """Name by value, as it is and as a URL spells it."""
    found = {}
    for name, value in environment.items():
        if is_secret(name, value) and _may_be_secret(value):
            found |= {value: name, quote(value, safe=""): name}
    return found


def _may_be_secret(value: str) -> bool:
    """Long enough, and neither a path, a plain word, nor a number such as a date."""
    plain = re.fullmatch(r"[/~].*|\{run\}.*|[A-Za-z]{1,19}|[\d.:\s-]{1,19}", value, re.DOTALL)
    return len(value) >= SHORTEST and not plain
