"""A launcher's ledger: what is in it after whatever has happened to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balsam import ledger
from balsam.ledger import Ledger
from balsam.site import Site, make_site
from balsam.states import State
from balsam.v1 import lease_pb2

S = State


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "site")


def report(handle: int, *states: State, message: str = "") -> lease_pb2.Report:
    passages = [lease_pb2.Passage(state=state, time_us=1) for state in states]  # type: ignore[arg-type]
    lease = lease_pb2.Lease(handle=handle, token=1)
    return lease_pb2.Report(lease=lease, passages=passages, message=message, release=True)


def result(handle: int, message: str = "") -> lease_pb2.Report:
    return report(handle, S.RUNNING, S.RUN_DONE, message=message)


def file_of(site: Site) -> Path:
    (file,) = ledger.directory(site).iterdir()
    return file


def handles(data: bytes) -> list[int]:
    return [report.lease.handle for request in ledger.decode(data) for report in request.reports]


def test_it_holds_results_and_nothing_else(site: Site) -> None:
    book = Ledger(site)
    assert not book.append("s", [report(1, S.RUNNING), report(2), report(3, S.RUNNING, S.RUN_TIMEOUT)])
    assert not ledger.directory(site).exists()
    assert book.append("s", [report(4, S.RUNNING), result(5), report(6, S.RUNNING, S.RUN_ERROR)])
    (request,) = ledger.decode(file_of(site).read_bytes())
    assert request.session_id == "s"
    assert [report.lease.handle for report in request.reports] == [5, 6]


def test_what_is_cut_off_costs_the_last_record_only(site: Site) -> None:
    book = Ledger(site)
    for number in (1, 2, 3):
        book.append("s", [result(number)])
    data = file_of(site).read_bytes()
    for end in range(len(data)):
        assert handles(data[:end]) == [1, 2, 3][: end // (len(data) // 3)]


@pytest.mark.parametrize("damage", [b"\0", b"\xff"])
def test_what_is_damaged_costs_its_record_only(site: Site, damage: bytes) -> None:
    book = Ledger(site)
    for number in (1, 2, 3):
        book.append("s", [result(number)])
    data = file_of(site).read_bytes()
    third = len(data) // 3
    for at in range(third, 2 * third):
        if data[at : at + 1] != damage:
            assert handles(data[:at] + damage + data[at + 1 :]) == [1, 3], at


def test_garbage_is_nothing() -> None:
    assert list(ledger.decode(b"")) == []
    assert list(ledger.decode(os.urandom(5000))) == []


def test_it_grows_no_larger_than_what_still_counts(site: Site) -> None:
    book = Ledger(site)
    many = [result(number, "x" * 4000) for number in range(1500)]
    book.append("s", many)
    assert book.is_large
    book.restart("t", many[-2:])
    assert not book.is_large
    assert handles(file_of(site).read_bytes()) == [1498, 1499]
    book.append("t", [result(1500)])
    assert handles(file_of(site).read_bytes()) == [1498, 1499, 1500]
    book.remove()
    assert not list(ledger.directory(site).iterdir())


def test_what_has_been_acknowledged_is_dropped_when_it_is_worth_it(site: Site) -> None:
    book = Ledger(site)
    book.append("s", [result(1)])
    book.settle()
    assert handles(file_of(site).read_bytes()) == [1]
    book.append("s", [result(number, "x" * 4000) for number in range(20)])
    book.settle()
    assert file_of(site).stat().st_size == 0
    book.append("s", [result(7)])
    assert handles(file_of(site).read_bytes()) == [7]


def test_a_directory_that_cannot_be_written_is_said_once_and_costs_nothing_else(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.directory(site).write_text("in the way")
    book = Ledger(site)
    book.append("s", [result(1)])
    book.append("s", [result(2)])
    book.sync()
    book.settle()
    book.restart("s", [result(3)])
    book.remove()
    (record,) = caplog.records
    assert "File exists; going on without it" in record.getMessage()
