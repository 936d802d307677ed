"""What the Hub says of an artefact: its files, their sizes and hashes, its licence gate.

Takes an Artefact, hands on a Listing. Through huggingface_hub, which knows the mirror (HF_ENDPOINT), the
token (HF_TOKEN or `hf auth login`) and the proxies. Every failure becomes one of three refusals: no network,
no permission, no such thing.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stair.errors import COULD_NOT_CHECK, StairError
from tools.fetching.artefacts import Artefact


class Unreachable(StairError):
    """The Hub does not answer from here."""

    exit_code = COULD_NOT_CHECK


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository at one revision."""

    path: str
    place: str
    """Where it goes below the artefact's folder."""
    size: int
    sha256: str
    """Of large files, as the Hub states it; empty for small ones, which git keeps."""
    git_sha1: str
    """git's hash of a small file's content: sha1 of `blob SIZE\\0` and the bytes."""

    @property
    def mark(self) -> str:
        """What tells this content from another."""
        return self.sha256 or self.git_sha1


@dataclass(frozen=True)
class Listing:
    """What is to be fetched of an artefact."""

    artefact: Artefact
    revision: str
    """The commit; files of different commits are never mixed."""
    gated: str
    """How the repository asks for consent: `auto`, `manual`, or empty."""
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def endpoint() -> str:
    """The Hub's address, or its mirror's."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def list_files(artefact: Artefact, target: Path) -> Listing:
    """Asks the Hub. `target` is only for the advice of errors.

    Raises Unreachable without network, StairError without permission, or when the repository lacks what the
    artefact needs.
    """
    hub = load_library()
    try:
        info = hub.HfApi(endpoint=endpoint()).model_info(artefact.repository, files_metadata=True)
    except Exception as error:  # the library's own, and those of the HTTP client it happens to use
        raise explain(error, artefact, target) from None
    files = []
    for sibling in info.siblings or ():
        place = artefact.place(sibling.rfilename)
        if place is not None:
            sha256 = sibling.lfs.sha256 if sibling.lfs else ""
            files.append(
                RemoteFile(sibling.rfilename, place, sibling.size or 0, sha256, sibling.blob_id or "")
            )
    lacking = artefact.lacking([file.place for file in files])
    if lacking:
        raise StairError(
            f"{artefact.repository} holds no {', '.join(lacking)}: its layout is not the one known here",
            hint=f"look at {endpoint()}/{artefact.repository}/tree/main and lay the files out by hand",
        )
    return Listing(artefact, info.sha or "main", info.gated or "", tuple(files))


def load_library() -> Any:
    """huggingface_hub, quiet. Raises StairError where it is not installed."""
    try:
        import huggingface_hub as hub
        import huggingface_hub.utils as quiet
    except ModuleNotFoundError:
        raise StairError(
            "huggingface_hub is not installed in this Python", hint="pip install 'huggingface_hub>=0.30'"
        ) from None
    quiet.disable_progress_bars()
    quiet.logging.set_verbosity_error()
    return hub


def explain(error: Exception, artefact: Artefact, target: Path) -> StairError:
    """The refusal that an exception of huggingface_hub or its HTTP client means."""
    from huggingface_hub import errors

    where = f"{endpoint()}/{artefact.repository}"
    if isinstance(error, StairError):
        return error
    if isinstance(error, errors.OfflineModeIsEnabled):
        return StairError(f"cannot fetch {artefact.name}: HF_HUB_OFFLINE is set", hint="unset HF_HUB_OFFLINE")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return StairError(
            f"{artefact.repository} is gated: its licence has to be accepted first ({artefact.licence})",
            hint=f"accept it at {where}, then hf auth login, or HF_TOKEN=… in the environment",
        )
    if status == 401:
        return StairError(
            f"{artefact.repository} is not there, or private, or gated for this account (401)",
            hint=f"open {where} in a browser; then hf auth login, or HF_TOKEN=… in the environment",
        )
    if status == 404 or isinstance(error, errors.RepositoryNotFoundError | errors.EntryNotFoundError):
        return StairError(f"{where} is not there (404)", hint="was it renamed? HF_ENDPOINT may also lack it")
    if status is not None:
        return StairError(
            f"{where} answers {status}", hint="try again later; what is fetched already is kept"
        )
    if _is_network(error):
        return Unreachable(
            f"cannot reach {endpoint()} from {socket.gethostname()}: {_line(error)}",
            hint=elsewhere([artefact.name], target),
        )
    return StairError(
        f"cannot fetch {artefact.name}: {type(error).__name__}: {_line(error)}", hint="try again"
    )


def elsewhere(names: list[str], target: Path) -> str:
    """How to get artefacts onto a machine without network."""
    there = target.absolute()
    return (
        f"on a machine with network: tools/fetch-weights {' '.join(names)} --into pretrained"
        f" && rsync -aP pretrained/ {socket.gethostname()}:{there}/   (or HF_ENDPOINT=https://a-mirror)"
    )


def _is_network(error: Exception) -> bool:
    client = type(error).__module__.split(".")[0]
    return isinstance(error, OSError) or client.startswith(("httpx", "httpcore", "requests", "urllib3"))


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
