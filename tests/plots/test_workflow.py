"""A workflow as boxes in rows, without I/O."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from balsam.plots.layers import layout
from balsam.plots.workflow import Node, levels, picture


def node(name: str, *parents: str, state: str = "CREATED") -> Node:
    """A job whose id is its name."""
    return Node(name, name, state, parents)


def test_a_diamond_job_by_job() -> None:
    drawn = picture([node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c", "gone")])
    assert [(box.name, box.level, box.count) for box in drawn.boxes] == [
        ("a", 0, 1),
        ("b", 1, 1),
        ("c", 1, 1),
        ("d", 2, 1),
    ]
    assert drawn.edges == {(0, 1): 1, (0, 2): 1, (1, 3): 1, (2, 3): 1}
    assert not drawn.is_summary


def test_many_jobs_of_like_names_are_one_box() -> None:
    nodes = [node(f"scan-{n}") for n in range(300)] + [node("fit", *(f"scan-{n}" for n in range(300)))]
    drawn = picture(nodes, most=50)
    assert [(box.name, box.count) for box in drawn.boxes] == [("scan-#", 300), ("fit", 1)]
    assert drawn.edges == {(0, 1): 300}
    assert (drawn.is_summary, drawn.left_out, drawn.jobs) == (True, 0, 301)


def test_many_jobs_on_one_level_are_one_box_though_there_are_few_in_all() -> None:
    nodes = [node("first"), *(node(f"part-{n}", "first") for n in range(31))]
    assert [box.count for box in picture(nodes).boxes] == [1, 31]
    assert len(picture(nodes[:-1]).boxes) == 31


def test_a_long_chain_of_like_names_is_one_box() -> None:
    nodes = [node("step-0"), *(node(f"step-{n}", f"step-{n - 1}") for n in range(1, 500))]
    (box,) = picture(nodes, most=50).boxes
    assert (box.count, box.chained) == (500, True)


def test_what_does_not_fit_at_all_is_counted() -> None:
    letters = "abcdefghij"
    nodes = [node(a + b) for a in letters for b in letters] + [node("aa2"), node("aa3")]
    drawn = picture(nodes, most=10)
    assert len(drawn.boxes) == 10
    assert drawn.left_out == drawn.jobs - sum(box.count for box in drawn.boxes)


def test_no_jobs_are_no_boxes() -> None:
    assert picture([]).boxes == ()
    assert layout([], {}) == []


def test_a_cycle_does_not_hang() -> None:
    assert levels([node("a", "b"), node("b", "a"), node("c")]) == [0, 0, 0]


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 30))
    return [
        node(f"j{place}", *(f"j{parent}" for parent in draw(st.sets(st.integers(0, place - 1), max_size=3))))
        if place
        else node("j0")
        for place in range(count)
    ]


@given(graphs())
def test_children_are_below_their_parents_and_no_two_boxes_meet(nodes: list[Node]) -> None:
    drawn = picture(nodes)
    places = layout([box.level for box in drawn.boxes], drawn.edges, row=5)
    assert all(places[parent][1] < places[child][1] for parent, child in drawn.edges)
    assert len(drawn.edges) == sum(len(set(one.parents)) for one in nodes)
    for (x, row), (next_x, next_row) in pairwise(sorted(places, key=lambda place: (place[1], place[0]))):
        assert row != next_row or next_x - x > 0.999
    assert all(0 <= x <= 5 for x, _ in places)
