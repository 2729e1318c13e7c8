"""Where a site listens: ``HOST:PORT``, as people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from balsam.errors import ValidationError

_TEXT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?)):(?P<port>\d{1,5})"
)
_EVERYWHERE = frozenset({"0.0.0.0", "::"})
_LAST_PORT = 65535


@dataclass(frozen=True)
class Address:
    """A host (a name, or an address of IPv4 or IPv6) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_everywhere(self) -> bool:
        """Whether it stands for all addresses of a host."""
        return self.host in _EVERYWHERE

    def of_store(self, number: int) -> Address:
        """Where the job store of this number listens, from 1: each has a port of its own."""
        return Address(self.host, self.port + number - 1)


def looks_like_address(text: str) -> bool:
    """Whether this may be an address; the port may still be none."""
    return _TEXT.fullmatch(text) is not None


def parse_address(text: str, where: str, job_stores: int = 1) -> Address:
    """The address in a text; `where` names its origin in errors.

    Args:
        text: ``login1:7443``, ``10.0.0.7:7443``, ``[fd00::7]:7443``.
        where: an option or a setting.
        job_stores: so many ports are needed, from this one.

    Raises:
        ValidationError: it is none.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        example = "login1:7443 or [fd00::7]:7443"
        raise ValidationError(f"{where} {text!r}: must be HOST:PORT, for example {example}", field="listen")
    port = int(found["port"])
    if not 1 <= port <= _LAST_PORT + 1 - job_stores:
        most = _LAST_PORT + 1 - job_stores
        raise ValidationError(f"{where} {text!r}: the port must be a number from 1 to {most}", field="listen")
    return Address(_host(found["v6"] or found["host"], text, where), port)


def _host(host: str, text: str, where: str) -> str:
    """A host as certificates know it: addresses in their shortest form."""
    if ":" not in host and not re.fullmatch(r"[0-9.]+", host):
        return host
    import ipaddress

    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ValidationError(f"{where} {text!r}: {host} is no IP address", field="listen") from None
