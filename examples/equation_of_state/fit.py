"""Fits an equation of state to the energies that this job's parents found.

Where the minimum is not known well enough (`eos.rounds` says when), it adds a finer scan while it runs, and
a fit like itself to follow; else it writes ``eos_METAL.json`` for the jobs that come after.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from balsam.launcher.dag import BalsamJob, current_job, parents
from eos import rounds
from eos.jobs import add_round, require


def main() -> None:
    """Fits, stores what was found in this job's data, and goes on or ends the scans of its metal."""
    job = require(current_job)
    metal, number = job.data["metal"], job.data["round"]
    volumes, energies, before, scans = _from_parents()
    scans = [*scans, {"volumes": volumes, "energies": energies}]
    found = rounds.try_fit(volumes, energies)
    doubts = rounds.doubts(volumes, found, before)
    job.data.update(doubts=doubts, converged=not doubts, scans=scans)
    if found is not None:
        job.data.update(asdict(found), lattice_constant=found.lattice_constant)
        print(f"{metal}: a = {found.lattice_constant:.4f} Å, B = {found.bulk_modulus:.1f} GPa")
    if doubts:
        _go_on(job, metal, number + 1, rounds.next_volumes(volumes, energies, found), doubts)
    else:
        assert found is not None
        content = {"metal": metal, "eos": asdict(found), "scans": scans}
        Path(f"eos_{metal}.json").write_text(json.dumps(content, indent=1))
    job.save()


def _from_parents() -> tuple[list[float], list[float], float | None, list[dict[str, list[float]]]]:
    """Volumes and energies in rising order; the minimum [Å³] and the scans that the fit before this one knew."""
    points, before, scans = [], None, []
    for parent in parents:
        if parent.application == "volume":
            points.append((parent.data["volume"], parent.data["energy"]))
        elif parent.application == "fit":
            before, scans = parent.data.get("volume"), parent.data["scans"]
    points.sort()
    return [volume for volume, _ in points], [energy for _, energy in points], before, scans


def _go_on(job: BalsamJob, metal: str, number: int, volumes: list[float], doubts: list[str]) -> None:
    if number >= rounds.MAX_ROUNDS:
        sys.exit(f"{metal}: not converged after {number} scans: {'; '.join(doubts)}")
    add_round(job, metal, number, volumes)
    print(f"{metal}: {'; '.join(doubts)}: added {len(volumes)} volumes and another fit")


if __name__ == "__main__":
    main()
