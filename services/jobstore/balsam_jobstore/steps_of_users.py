"""Scripts and stagings of users' jobs: they are run by the scheduler, in the account of the site's owner, so that only
jobs of the owner, and of those whom the owner trusts, may need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from balsam.states import END
from balsam_jobstore.access import denied
from balsam_jobstore.applications import SCRIPTS, find_needs
from balsam_jobstore.columns import NEEDS_BY_FLAG, bit_of_flag
from balsam_jobstore.rows import Row
from balsam_jobstore.rules import Needs
from balsam_jobstore.tx import Tx

_ENDED = ", ".join(str(int(state)) for state in sorted(END))
_LINKS = int(Needs.INPUT_FILES | Needs.PARENTS)


def check(label: str, user: str, needs: int) -> None:
    """Raises NotAllowed if a job of a user for whom no scripts are run needs one, or a staging; says which."""
    step = _step(needs)
    if step:
        raise denied(
            f"job {label} needs {step}: scripts and staging run in the account of the site's owner, who does not list "
            f"{user} in the setting trusted_owners"
        )


def _step(needs: int) -> str:
    if needs & Needs.STAGE_IN_URL:
        return "a stage-in (stage_in_url)"
    if needs & _LINKS == _LINKS:
        return "files of its parents to be linked (input_files; leave it empty)"
    if needs & Needs.PREPROCESS:
        return "its application's preprocess"
    if needs & Needs.POSTPROCESS:
        return "its application's postprocess"
    if needs & Needs.STAGE_OUT:
        return "a stage-out (stage_out_url and stage_out_files)"
    return ""


def with_parents(needs: int) -> int:
    """What a job needs when it has a parent."""
    return needs | int(Needs.PARENTS)


def needs_after(tx: Tx, row: Row, values: Mapping[str, Any]) -> int:
    """What a job will need when it has these values."""
    needs = row.needs
    if "application" in values:
        known = find_needs(tx, {values["application"]} - {""})
        needs = needs & ~SCRIPTS | known.get(values["application"], (None, 0))[1]
    for name in values.keys() & NEEDS_BY_FLAG.keys():
        needs = needs & ~NEEDS_BY_FLAG[name][0] | bit_of_flag(name, values[name])
    if values.get("parents"):
        needs = with_parents(needs)
    if values.get("stage_out_url") or values.get("stage_out_files"):
        text = "SELECT stage_out_url, stage_out_files FROM job_detail WHERE key = :key"
        ((url, files),) = tx.sql.run(text, key=row.key)
        if values.get("stage_out_url", url) and values.get("stage_out_files", files):
            needs |= int(Needs.STAGE_OUT)
    return needs


def owners_of_unfinished(tx: Tx, application: int) -> list[int]:
    """Users who have jobs of an application that have not ended."""
    tx.flush()
    text = f"SELECT DISTINCT owner_key FROM job WHERE application = :application AND state NOT IN ({_ENDED})"
    return [key for (key,) in tx.sql.run(text, application=application)]
