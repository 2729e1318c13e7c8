"""HOST:PORT."""

from __future__ import annotations

import pytest

from balsam.addresses import looks_like_address, parse_address
from balsam.errors import ValidationError


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("login1:7443", "login1", 7443, "login1:7443"),
        (" login1.example.org:1 ", "login1.example.org", 1, "login1.example.org:1"),
        ("10.0.0.7:65535", "10.0.0.7", 65535, "10.0.0.7:65535"),
        ("[fd00:0:0::7]:7443", "fd00::7", 7443, "[fd00::7]:7443"),
        ("0.0.0.0:7443", "0.0.0.0", 7443, "0.0.0.0:7443"),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int, shown: str) -> None:
    address = parse_address(text, "--listen")
    assert (address.host, address.port, str(address)) == (host, port, shown)


@pytest.mark.parametrize(
    "text",
    [
        *("", "login1", ":7443", "login1:", "login1:0", "login1:65536", "login1:x", "login1:7443:7444", "fd00::7:7443"),
        *(
            "http://login1:7443",
            "a b:7443",
            "-x:7443",
            "10.0.0:7443",
            "10.0.0.256:7443",
            "[fd00::zz]:7443",
            "unix:/a:1",
        ),
        "login1:7443\nx",
    ],
)
def test_what_is_no_address_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(ValidationError, match="--listen") as caught:
        parse_address(text, "--listen")
    assert repr(text) in str(caught.value)


def test_each_job_store_has_a_port() -> None:
    address = parse_address("login1:7443", "listen =", job_stores=3)
    assert [str(address.of_store(number)) for number in (1, 2, 3)] == ["login1:7443", "login1:7444", "login1:7445"]
    with pytest.raises(ValidationError, match="from 1 to 65533"):
        parse_address("login1:65534", "listen =", job_stores=3)


def test_everywhere_is_known() -> None:
    assert [parse_address(f"{host}:1", "x").is_everywhere for host in ("0.0.0.0", "[::]", "[::0]", "127.0.0.1")] == [
        *(True, True, True),
        False,
    ]


def test_a_path_does_not_look_like_an_address() -> None:
    assert [looks_like_address(text) for text in ("a:1", "[::1]:80", "/a:1", "a", "./a:1", "a:b")] == [
        *(True, True),
        *(False, False, False, False),
    ]
