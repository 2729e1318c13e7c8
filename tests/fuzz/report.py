"""What came of a fuzzing, for people."""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.fuzz.campaign import Findings


def render(title: str, findings: Findings) -> str:
    """A few lines, and a table: a row for each rpc, with its status codes."""
    tally, plan = findings.tally, findings.plan
    by_method: dict[str, Counter[str]] = defaultdict(Counter)
    by_code: Counter[str] = Counter()
    for (method, code), count in tally.calls.items():
        by_method[method][code] += count
        by_code[code] += count
    calls = sum(by_code.values())
    rss = [size for _, size in findings.memory] or [0]
    lines = [
        f"{title}: {tally.inputs:,} inputs in {calls:,} calls over {plan.connections} connections, seed {plan.seed!r}",
        f"  {findings.seconds:.1f} s, {tally.inputs / max(findings.seconds, 1e-9):,.0f} inputs/s; "
        f"slowest call {tally.slowest:.2f} s",
        f"  memory: {rss[0] / 1e6:.0f} MB at first, {rss[-1] / 1e6:.0f} MB at last, {max(rss) / 1e6:.0f} MB at most; "
        f"after the warm-up {findings.slope:+.1f} bytes an input, {findings.growth / 1e6:+.1f} MB in all",
        f"  memory by tenths of the inputs [MB]: {_by_tenths(findings)}",
        f"  renewals of a session: {len(findings.renewals)}, slowest {max(findings.renewals, default=0.0):.3f} s",
        f"  answers: {_listed(by_code)}",
        *(f"  {method:40} {sum(codes.values()):>9,}  {_listed(codes)}" for method, codes in sorted(by_method.items())),
        f"  problems: {len(findings.problems) or 'none'}",
        *findings.problems,
    ]
    return "\n".join(lines)


def _by_tenths(findings: Findings) -> str:
    sizes: dict[int, int] = {}
    for sent, size in findings.memory:
        sizes[min(10 * sent // findings.plan.inputs, 9)] = size
    return " ".join(f"{size / 1e6:.0f}" for _, size in sorted(sizes.items()))


def _listed(codes: Counter[str]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in codes.most_common())
