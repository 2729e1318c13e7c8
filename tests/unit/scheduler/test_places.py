from __future__ import annotations

import pytest

from balsam_scheduler.places import Carrier, Place, hide_password, parse


@pytest.mark.parametrize(
    ("url", "carrier", "where", "base_name"),
    [
        ("/data/in", Carrier.LOCAL, "/data/in", "in"),
        ("local:/data/in/", Carrier.LOCAL, "/data/in/", "in"),
        ("file:///data/in", Carrier.LOCAL, "/data/in", "in"),
        ("scp:me@host:/data/in", Carrier.SCP, "me@host:/data/in", "in"),
        ("scp:/data/in", Carrier.LOCAL, "/data/in", "in"),
        ("scp:host:~/in", Carrier.SCP, "host:in", "in"),
        ("rsync:host:~", Carrier.RSYNC, "host:", ""),
        ("scp:host:in", Carrier.SCP, "host:in", "in"),
        ("scp://host:22//data/in", Carrier.SCP, "scp://host:22//data/in", "in"),
        ("rsync:host:/data/in/", Carrier.RSYNC, "host:/data/in/", "in"),
        ("rsync://host/module/in", Carrier.RSYNC, "rsync://host/module/in", "in"),
        ("s3://bucket/in", Carrier.FSSPEC, "s3://bucket/in", "in"),
    ],
)
def test_what_a_url_names(url: str, carrier: Carrier, where: str, base_name: str) -> None:
    place = parse(url)
    assert place == Place(carrier, where)
    assert place.base_name == base_name


@pytest.mark.parametrize("url", ["local:data", "file://data", "scp:", "scp:-oProxyCommand=x:/y", "rsync:///"])
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"names no place|absolute path|begins with"):
        parse(url)


def test_passwords_do_not_show() -> None:
    text = "cannot reach sftp://me:secret@host/x, https://host:8080/y"
    assert hide_password(text) == "cannot reach sftp://me:***@host/x, https://host:8080/y"
