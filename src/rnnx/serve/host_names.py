"""The names by which a server may be asked."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

MOST_KNOWN = 256  # headers that are remembered
ANY_HOST = "*"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address, or all that a name stands for."""
    if not host:
        return False
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


def check_host_name(name: str) -> str:
    """A name or address of `Settings.allowed_hosts` as it is compared.

    Raises
    ------
    ValueError
        If it is something else, such as an address of a page.
    """
    found = name.strip().lower()
    found = found if found == "*." else found.removesuffix(".")
    bare = found.removeprefix("*.")
    try:
        ipaddress.ip_address(found)
    except ValueError:
        if found != ANY_HOST and (not bare or not bare.isprintable() or set(bare) & set(" */:@[]?#")):
            raise ValueError(
                "Settings: `allowed_hosts` must be names or addresses without scheme and port, as example.org, "
                f"*.example.org or *, got {name!r}"
            ) from None
    return found


def name_in(header: bytes) -> str | None:
    """The name or address in a Host header, without its port; None if it is none."""
    text = header.decode("latin-1").lower()
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        if not bracket or port[:1] not in ("", ":"):
            return None
        port = port[1:]
    else:
        name, _, port = text.partition(":")
    name = name.removesuffix(".")
    return name if name and (not port or (port.isascii() and port.isdigit())) else None


class Hosts:
    """The names by which a server may be asked, of which those of this machine itself always are.

    A page that has its own name resolve to this machine (DNS rebinding) asks by that name, and browsers say so.

    Parameters
    ----------
    names : sequence of str
        As of `check_host_name`; none for any.
    """

    def __init__(self, names: Any):
        self._any = not names or ANY_HOST in names
        self._names = {name for name in names if not name.startswith("*.")}
        self._ends = tuple(name[1:] for name in names if name.startswith("*."))
        self._known: set[bytes] = set()

    def allows(self, header: bytes) -> bool:
        """Whether a Host header has one of them."""
        if self._any or header in self._known:
            return True
        name = name_in(header)
        found = name is not None and (name in self._names or name.endswith(self._ends) or self._is_own(name))
        if found and len(self._known) < MOST_KNOWN:
            self._known.add(header)
        return found

    @staticmethod
    def _is_own(name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost"):  # which browsers ask nobody about
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False
