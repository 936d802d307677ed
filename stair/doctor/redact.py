"""Names of people and machines leave a text or a tree, and what is left can still be read.

Takes plain JSON and what is known to be private, hands on the same shape. Pure. The surprise: names are
replaced consistently (node-1 stays node-1 in every file and sentence), and what a name is is found out from
the sheets first, since a host's name turns up in the middle of any message.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from stair.doctor import private

T = TypeVar("T")


def redact(
    value: T, *, users: Iterable[str] = (), secrets: Iterable[str] = (), hosts: Iterable[str] = ()
) -> T:
    """The same tree of plain values without names, addresses, paths of people and secrets."""
    return make_redactor([value], users=users, secrets=secrets, hosts=hosts).tree(value)


def make_redactor(
    values: Iterable[Any],
    *,
    users: Iterable[str] = (),
    secrets: Iterable[str] = (),
    hosts: Iterable[str] = (),
) -> Redactor:
    """One that knows every name which occurs in these trees."""
    found: dict[str, dict[str, None]] = {kind: {} for kind in ("node", "user", "account", "secret", "group")}
    for kind, names in (("node", hosts), ("user", users), ("secret", secrets)):
        found[kind] |= dict.fromkeys(names)
    for value in values:
        for kind, name in private.names_in(value):
            found[kind].setdefault(name)
    return Redactor(found)


class Redactor:
    """Replaces names, the same one always by the same; new addresses and ids get numbers as they come."""

    def __init__(self, found: Mapping[str, Iterable[str]]) -> None:
        self.numbers: dict[str, dict[str, int]] = {}
        self.names: dict[str, str] = {}
        for name in found["secret"]:
            if len(name) >= 4:
                self.names[name] = "<secret>"
        for kind in ("node", "user", "account", "group"):
            for name in found[kind]:
                if len(name) > 1 and name.lower() not in private.KNOWN and not name.isdigit():
                    self.names.setdefault(name, self._numbered(kind, name))
        # The longest first: gpu011 is not gpu01 and a 1.
        self.order = sorted(self.names, key=len, reverse=True)
        words = [re.escape(name) for name in self.order]
        end = r"(?![A-Za-z0-9])"
        self.pattern = re.compile(rf"(?i)(?<![A-Za-z0-9])(?:{'|'.join(words)}){end}") if words else None
        self.lower = {name.lower(): new for name, new in self.names.items()}

    def tree(self, value: Any, key: str = "") -> Any:
        """The same shape of mappings, lists and plain values."""
        if isinstance(value, Mapping):
            return {self._key(str(name)): self.tree(each, str(name)) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(each, key) for each in value]
        if isinstance(value, str):
            if private.is_secret_name(key) and value:
                return "<secret>"
            return (
                value
                if private.KEPT.match(key) and re.fullmatch(r"[0-9a-f]{7,64}(-dirty)?", value)
                else self.text(value)
            )
        return value

    def text(self, text: str) -> str:
        """One text. What is a name by its looks is found here, too."""
        text = private.URL_LOGIN.sub(r"\g<scheme><secret>@", text)
        text = private.BEARER.sub(r"\1 <secret>", text)
        text = private.ASSIGNED.sub(r"\1<secret>", text)
        text = private.TOKEN.sub("<secret>", text)
        text = private.GPU_UUID.sub(lambda match: f"{match[1]}-{self._number('gpu', match[0])}", text)
        text = private.UUID.sub(lambda match: self._numbered("id", match[0]), text)
        text = private.HOME.sub("~", text)
        if self.pattern:
            text = self.pattern.sub(lambda match: self.lower[match[0].lower()], text)
        text = private.MAIL.sub(
            lambda match: match[0] if match[0].startswith("<") else self._numbered("mail", match[0]), text
        )
        text = private.PATH.sub(_shortened, text)
        text = private.MAC.sub(lambda match: self._numbered("mac", match[0]), text)
        text = private.IPV4.sub(self._address, text)
        text = private.IPV6.sub(self._address, text)
        text = private.DOMAIN.sub(self._domain, text)
        return private.RANDOM.sub(_unless_random, text)

    def _key(self, name: str) -> str:
        return (
            name
            if re.fullmatch(r"[A-Za-z_][\w ./-]{0,40}", name) and name not in self.names
            else self.text(name)
        )

    def _number(self, kind: str, name: str) -> int:
        known = self.numbers.setdefault(kind, {})
        return known.setdefault(name.lower(), len(known) + 1)

    def _numbered(self, kind: str, name: str) -> str:
        return f"{kind}-{self._number(kind, name)}"

    def _address(self, match: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(match[0].partition("%")[0].rstrip("."))
        except ValueError:
            return match[0]
        if address.is_loopback or address.is_unspecified:
            return match[0]
        return self._numbered("address", str(address))

    def _domain(self, match: re.Match[str]) -> str:
        if match[0].lower().endswith(private.PUBLIC):
            return match[0]
        first = match[0].partition(".")[0]
        return first if first in self.names.values() else self._numbered("host", match[0])


def _shortened(match: re.Match[str]) -> str:
    path = match[0]
    if path.split("/")[1] in private.SYSTEM:
        return path
    last = path.rstrip("/").rpartition("/")[2]
    return f"/…/{last}"


def _unless_random(match: re.Match[str]) -> str:
    """A long word of letters and digits in no order is a key or an id; file names and versions are not."""
    word = match[0]
    for piece in re.split(r"[_=+-]", word):
        digits = sum(sign.isdigit() for sign in piece)
        letters = len(piece) - digits
        mixed = any(sign.islower() for sign in piece) and any(sign.isupper() for sign in piece)
        if len(piece) >= 16 and digits >= 2 and letters >= 2 and (mixed or digits >= 4):
            return "<random>"
    return word
