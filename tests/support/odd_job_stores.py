"""Job stores in processes that are not as usual."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from balsam.site import Site
from tests.support.processes import serves
from tests.support.sites import wait_until


@contextlib.contextmanager
def job_store_after(code: str, site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """A job store in a process that runs some code of the test's before it starts."""
    program = f"import sys\n{code}\nfrom balsam_jobstore.__main__ import main\nsys.exit(main())"
    site.make_run()
    with (site.log / "jobstore.console").open("ab") as console:
        command = [sys.executable, "-c", program, "--site", str(site.path)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        wait_until(lambda: site.read_info("jobstore") and serves(site, "jobstore"), what="the job store", site=site)
        yield process
    finally:
        process.terminate()
        process.wait(20)
