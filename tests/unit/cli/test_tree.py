"""Trees of jobs."""

from __future__ import annotations

from balsam_cli.tree import tree


def drawn(parents: dict[str, list[str]]) -> list[str]:
    return [f"{lead}{job}{f' +{more}' if more else ''}" for lead, job, more in tree(parents)]


def test_children_stand_below_their_parents() -> None:
    assert drawn({"a": [], "b": ["a"], "c": ["b"], "d": ["a"], "e": []}) == ["a", "├─ b", "│  └─ c", "└─ d", "e"]


def test_a_job_with_many_parents_stands_once_below_the_first() -> None:
    assert drawn({"a": [], "b": [], "c": ["a", "b"]}) == ["a", "└─ c +1", "b"]


def test_parents_outside_of_the_list_are_counted_only() -> None:
    assert drawn({"c": ["x", "y"]}) == ["c +2"]


def test_chains_may_be_longer_than_the_stack() -> None:
    chain = {str(n): [str(n - 1)] if n else [] for n in range(5000)}
    assert len(drawn(chain)) == 5000
