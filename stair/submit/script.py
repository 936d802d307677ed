"""Options, variables and a command become the text of a batch script; `read_options` is the way back.

Takes plain values, hands on a string: what slurmctld will store, byte for byte. Nothing is looked up. The
surprise: the words of an #SBATCH line are not shell words. sbatch (22.05, `_get_argument` of its option
reader) knows both quotes, but a backslash escapes inside of either, an unquoted blank ends a word even after
a backslash, and an unquoted # begins a comment. So a value stands in double quotes, with a backslash before
each backslash and double quote.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from stair.errors import UsageError

Option = tuple[str, str | None]
"""Name and value of an sbatch option; None for one that takes no value."""

PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./^\[\]*-]+")
"""Values that sbatch reads as they are."""


def batch_script(
    options: Sequence[Option],
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    comments: Sequence[str] = (),
) -> str:
    """The script that sets `environment` and becomes `command`.

    The shell is replaced (`exec`), so that a signal to the batch script reaches the command itself. Raises
    UsageError for what no script can carry: a NUL anywhere, a line break in an option, a name that is none.
    """
    lines = ["#!/bin/bash"]
    # The blank after # matters: sbatch also reads lines that begin with #PBS and #BSUB.
    for comment in comments:
        lines += [f"# {line}".rstrip() for line in comment.encode(errors="replace").decode().splitlines()]
    lines += [f"#SBATCH {option_words(name, value)}" for name, value in options]
    for name, value in (environment or {}).items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UsageError(f"{name!r} is no name of a variable", hint="letters, digits and _")
        lines.append(f"export {name}={shell_word(value)}")
    if not command:
        raise UsageError("a batch script needs a command")
    # `--`: a command may begin with a dash.
    lines.append("exec -- " + " ".join(shell_word(word) for word in command))
    return "\n".join(lines) + "\n"


def option_words(name: str, value: str | None) -> str:
    """One option as an #SBATCH line says it. Raises UsageError for a value that sbatch cannot read."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"{name!r} is no name of an sbatch option", hint="such as cpus-per-task")
    if value is None:
        return f"--{name}"
    if "\n" in value or "\0" in value:
        what = "a line break" if "\n" in value else "a NUL"
        raise UsageError(f"--{name} {value!r} contains {what}, which sbatch cannot read", hint="leave it out")
    _encoded(value, "utf-8")
    return f"--{name}={value if PLAIN.fullmatch(value) else _double_quoted(value)}"


def file_pattern(path: str) -> str:
    """A path as --output and --error take it, where %j and its like are patterns: each % is doubled.

    Raises UsageError for a backslash: it turns all patterns off and is dropped (sbatch(1), filename pattern).
    `scontrol show job` shows such a path wrongly; the file itself is right (22.05).
    """
    if "\\" in path:
        raise UsageError(f"Slurm cannot write to {path}: a backslash", hint="--run with another folder")
    return path.replace("%", "%%")


def shell_word(word: str) -> str:
    """A word as bash reads it back. Raises UsageError for a NUL.

    Words with control characters are written in one line as $'…': a multi-line literal could hold \\r\\n,
    which sbatch refuses as a DOS file. So are bytes that are no UTF-8, since a script is text.
    """
    if "\0" in word:
        raise UsageError(f"{word!r} contains a NUL, which no command line can carry", hint="leave it out")
    if not re.search(r"[\x01-\x1f\x7f\ud800-\udfff]", word):
        return shlex.quote(word)
    return "$'" + "".join(_ansi_c(sign) for sign in word) + "'"


def read_options(script: str) -> list[Option]:
    """The `--name=value` options of a script's header as sbatch reads them: the inverse of `batch_script`.

    Raises UsageError for a line that sbatch refuses.
    """
    options: list[Option] = []
    for line in script.split("\n")[1:]:
        if line.startswith("#SBATCH"):
            for word in _read_words(line.removeprefix("#SBATCH")):
                name, equals, value = word.removeprefix("--").partition("=")
                options.append((name, value if equals else None))
        elif line and not line.startswith("#"):
            break
    return options


def _double_quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _ansi_c(sign: str) -> str:
    if sign in "'\\":
        return "\\" + sign
    if sign.isprintable():
        return sign
    return "".join(f"\\x{byte:02x}" for byte in _encoded(sign, "utf-8", "surrogateescape"))


def _encoded(text: str, *how: str) -> bytes:
    try:
        return text.encode(*how)
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is no text in UTF-8", hint="leave it out") from None


def _read_words(line: str) -> list[str]:
    """Splits what follows #SBATCH the way sbatch does."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    signs = iter(line)
    for sign in signs:
        if sign == "\\":
            word = (word or "") + next(signs, "")
        elif quote:
            quote, word = ("", word) if sign == quote else (quote, (word or "") + sign)
        elif sign in "'\"":
            quote, word = sign, word or ""
        elif sign == "#":
            break
        elif sign in " \t\r\v\f":
            words, word = (words if word is None else [*words, word]), None
        else:
            word = (word or "") + sign
    if quote:
        raise UsageError(f"unmatched {quote} in #SBATCH{line}", hint="close it")
    return words if word is None else [*words, word]
