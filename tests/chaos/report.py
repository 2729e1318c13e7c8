"""The report of a campaign: for people as Markdown, for programs as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.campaign import Result
from tests.chaos.checker import LOST, OTHER, OVERLAP, STALE, by_rule

_MOST_OF_A_RULE = 20
_SEEDED_BUGS = Path(__file__).parents[2] / "docs" / "seeded-bugs.md"


def mutation_score() -> str:
    """What the tests are worth, this harness among them: how many of the bugs seeded on purpose they found last."""
    try:
        lines = _SEEDED_BUGS.read_text().splitlines()
    except FileNotFoundError:
        return "not measured; see `make mutants`"
    score = next((line for line in lines if line.endswith("bugs were found.")), "not measured; see `make mutants`")
    return f"{score.rstrip('.')}, see docs/{_SEEDED_BUGS.name}" if score[0].isdigit() else score


def values(result: Result, command: Sequence[str], database: str) -> dict[str, Any]:
    """A result as plain data."""
    kinds = Counter(finding.kind for finding in result.findings)
    return {
        "command": " ".join(command),
        "seed": result.plan.seed,
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "database": database,
        "lease_seconds": result.plan.lease_seconds,
        "jobs": len(result.plan.jobs),
        "states": dict(sorted(result.states.items())),
        "faults": sum(result.faults.values()),
        "faults_by_target": dict(sorted(result.faults.items())),
        "faults_not_given": max(0, len(result.plan.faults) - sum(result.faults.values())),
        "checked": result.checked,
        "found": {kind: kinds[kind] for kind in (LOST, STALE, OVERLAP, OTHER)},
        "findings": [vars(finding) for finding in result.findings],
        "attempts": result.attempts,
        "reruns": result.reruns,
        "ended_by_themselves": dict(sorted(result.own_exits.items())),
        "seconds": round(result.seconds, 1),
        "jobs_per_second": round(len(result.plan.jobs) / result.seconds, 1) if result.seconds else 0.0,
        "mutation_score": mutation_score(),
        "incomplete": result.incomplete,
        "status": result.status,
        "evidence": str(result.directory) if result.status else "",
    }


def markdown(report: dict[str, Any]) -> str:
    """A report for people."""
    found = ", ".join(f"{count} {kind}" for kind, count in report["found"].items())
    outcome = {0: "nothing was found", 1: "something was found", 2: f"it did not end: {report['incomplete']}"}
    lines = [
        f"# Chaos, seed {report['seed']}: {outcome[report['status']]}",
        "",
        f"    {report['command']}",
        "",
        "| | |",
        "| --- | --- |",
        f"| machine | {report['machine']} |",
        f"| database | {report['database']} |",
        f"| lease time | {report['lease_seconds']:g} s |",
        f"| jobs | {report['jobs']}: {_counts(report['states'])} |",
        f"| faults | {report['faults']}: {_counts(report['faults_by_target'])} |",
        f"| checked | {_counts(report['checked'])} |",
        f"| found | {found} |",
        f"| attempts | {report['attempts']} |",
        f"| ended with 0, and run again | {report['reruns']} |",
        f"| ended by themselves | {_counts(report['ended_by_themselves']) or 'none'} |",
        f"| duration | {report['seconds']} s, {report['jobs_per_second']} jobs/s |",
        f"| seeded bugs | {report['mutation_score']} |",
    ]
    if report["faults_not_given"]:
        lines.append(f"| faults not given | {report['faults_not_given']} |")
    if report["evidence"]:
        lines += ["", f"Evidence: {report['evidence']}"]
    return "\n".join(lines) + "\n"


def findings_text(result: Result) -> str:
    """What was found, rule by rule."""
    lines = []
    for rule, findings in by_rule(result.findings).items():
        lines.append(f"\n## {rule} ({findings[0].kind}): {len(findings)}\n")
        lines += [f"- {finding.text}" for finding in findings[:_MOST_OF_A_RULE]]
        if len(findings) > _MOST_OF_A_RULE:
            lines.append(f"- and {len(findings) - _MOST_OF_A_RULE} more")
    return "\n".join(lines) + "\n" if lines else ""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def write(path: Path, report: dict[str, Any], text: str) -> None:
    """Writes the report, as JSON where the file's name ends so."""
    path.write_text(json.dumps(report, indent=2) + "\n" if path.suffix == ".json" else text)
