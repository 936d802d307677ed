"""The host's pip configuration becomes a folder that is bound on /mnt while an image is built.

Takes the words of `pip config list` and the environment, hands on a pip.conf, the CA bundle and the folders
to bind. The surprise: pip inside the build sees none of the host's files or variables, so local wheel
folders and file:// indexes are renamed to where they are bound, and nothing of it is left in the image.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

INSIDE = "/mnt"
"""Every root file system has it, and a build may bind only onto folders that exist."""
PASSED = (
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "timeout",
    "default-timeout",
    "retries",
    "proxy",
)
"""What tells pip where packages are; settings about where to install would only do harm inside."""
CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Passed:
    """What a build is given of the host's pip."""

    settings: dict[str, str]
    """The [global] section of the pip.conf inside."""
    binds: tuple[tuple[Path, str], ...] = ()
    """Host folder and its name under /mnt."""
    ca: Path | None = None

    @property
    def pip_conf(self) -> str:
        """The file as pip reads it."""
        lines = [f"{key} = {' '.join(value.split())}" for key, value in sorted(self.settings.items())]
        return "\n".join(["[global]", *lines, ""])

    @property
    def shown(self) -> str:
        """The same for people: passwords in addresses are left out, bound folders named as on the host."""
        text = re.sub(r"(\w+://)[^/\s@]+@", r"\1***@", self.pip_conf)
        for host, name in self.binds:
            text = text.replace(f"{INSIDE}/{name}", f"{host}")
        return text.replace(f"{INSIDE}/ca.crt", str(self.ca))


def read_settings(listing: str) -> dict[str, str]:
    """What `pip config list` says: a section for one command beats [global], the environment beats both."""
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        match = re.fullmatch(r"(global|install|:env:)\.([a-z-]+)=(.*)", line.strip())
        if not match:
            continue
        section, key, text = match.groups()
        rank = ("global", "install", ":env:").index(section)
        try:
            value = str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            value = text
        if rank >= found.get(key, (-1, ""))[0]:
            found[key] = (rank, value)
    return {key: value for key, (_, value) in found.items()}


def pass_on(settings: Mapping[str, str], environment: Mapping[str, str]) -> Passed:
    """Decides what a build is given. Looks only whether named folders and CA bundles exist."""
    inside: dict[str, str] = {}
    binds: dict[Path, str] = {}
    for key, value in settings.items():
        if key in ("index-url", "extra-index-url", "find-links"):
            inside[key] = " ".join(_moved(word, key, binds) for word in value.split())
        elif key in PASSED:
            inside[key] = value
    candidates = [environment.get(name, "") for name in CA_VARIABLES]
    candidates = [candidates[0], settings.get("cert", ""), *candidates[1:], SYSTEM_CA]
    ca = next((Path(name) for name in candidates if name and Path(name).is_file()), None)
    if ca:
        inside["cert"] = f"{INSIDE}/ca.crt"
    return Passed(inside, tuple(binds.items()), ca)


def _moved(word: str, key: str, binds: dict[Path, str]) -> str:
    """An address as the build sees it; a local one is noted in `binds`."""
    parts = urlsplit(word)
    if parts.scheme not in ("", "file"):
        return word
    path = Path(unquote(parts.path)).expanduser()
    # An index links to its files beside it (../../files/x.whl), a page of links to those around it.
    outer = key != "find-links" or path.is_file()
    folder = path.parent if outer else path
    if not folder.is_dir() or folder == Path("/"):
        return word
    name = binds.setdefault(folder, f"packages{len(binds)}")
    moved = f"{INSIDE}/{name}/{path.name}" if outer else f"{INSIDE}/{name}"
    return f"file://{moved}" if parts.scheme else moved


def lay_out(passed: Passed, folder: Path) -> list[str]:
    """Fills `folder`, which only its owner may enter, and returns the words of --bind."""
    folder.mkdir(mode=0o700)
    conf = folder / "pip.conf"
    conf.touch(mode=0o600)
    conf.write_text(passed.pip_conf)
    if passed.ca:
        (folder / "ca.crt").write_bytes(passed.ca.read_bytes())
    words = ["--bind", f"{folder}:{INSIDE}:ro"]
    for host, name in passed.binds:
        (folder / name).mkdir()
        words += ["--bind", f"{host}:{INSIDE}/{name}:ro"]
    return words


def build_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What is added to the environment of `apptainer build`: only APPTAINERENV_X reaches the build, as X."""
    passed = {f"APPTAINERENV_{name}": environment[name] for name in PROXIES if name in environment}
    return {"APPTAINERENV_PIP_CONFIG_FILE": f"{INSIDE}/pip.conf", **passed}
