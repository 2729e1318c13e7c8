"""What the log says of answers that gRPC could not send."""

from __future__ import annotations

import logging
from pathlib import Path

from balsam.logs import open_log
from tests.support.sites import make_test_site


def test_an_answer_that_could_not_be_sent_is_one_line(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)
    before, level = logging.root.handlers[:], logging.root.level
    open_log(site, "trial")
    mine = logging.root.handlers[:]
    try:
        try:
            raise ValueError("five operations")
        except ValueError:
            log = logging.getLogger("grpc._cython.cygrpc")
            log.exception("ExecuteBatchError raised in core by servicer method [%s]", "/a/Read")
    finally:
        for handler in mine:
            handler.close()
        logging.root.handlers[:] = before
        logging.root.setLevel(level)
    (line,) = (site.log / "trial.log").read_text().splitlines()
    assert "INFO" in line
    assert line.endswith("method [/a/Read]: the caller has left, or the answer is too large for a message")
