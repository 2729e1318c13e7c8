"""States, throughput and nodes over time, as the page draws them. No I/O."""

from __future__ import annotations

from balsam_web.history import MOST, Bucket, History, Meter, merged
from balsam_web.past import look_back, width_for


def test_what_happens_within_a_second_is_one_point() -> None:
    history = History()
    history.add(100.1, {"RUNNING": 3}, {"JOB_FINISHED": 2}, 4, 1.5)
    history.add(100.9, {"RUNNING": 1}, {"JOB_FINISHED": 5, "FAILED": 1}, 4, 0.5)
    history.add(101.2, {"JOB_FINISHED": 8}, {"USER_KILLED": 1}, 0, 0)
    columns = history.columns(now=103.0)
    assert columns["time"] == [100, 101]
    assert columns["counts"] == {"JOB_FINISHED": [0, 8], "RUNNING": [1, 0]}
    assert (columns["finished"], columns["failed"]) == ([7, 0], [1, 1])
    assert (columns["nodes"], columns["busy"]) == ([4, 0], [0.5, 0])


def test_a_rate_is_told_when_enough_of_the_time_is_over() -> None:
    history = History()
    history.add(100.0, {}, {"JOB_FINISHED": 10}, 1, 1)
    assert history.columns(now=100.25)["finished"] == [None]
    assert history.columns(now=100.5)["finished"] == [20]
    assert history.columns(now=150.0)["finished"] == [10]


def test_after_a_pause_nothing_is_joined_by_a_slope() -> None:
    history = History()
    history.add(100.0, {"READY": 5}, {"JOB_FINISHED": 9}, 2, 2)
    history.add(200.0, {"READY": 1}, {"JOB_FINISHED": 4}, 2, 2)
    columns = history.columns(now=300.0)
    assert columns["time"] == [100, 101, 199, 200]
    assert columns["finished"] == [9, 0, 0, 4]
    assert columns["counts"]["READY"] == [5, 5, 5, 1]


def test_a_long_campaign_has_as_many_points_as_a_short_one() -> None:
    history = History()
    for second in range(10_000):
        history.add(float(second), {"JOB_FINISHED": second + 1}, {"JOB_FINISHED": 1}, 1, 1)
    columns = history.columns(now=20_000.0)
    assert len(history) == len(columns["time"]) <= MOST
    assert columns["width"] == 32.0
    assert set(columns["finished"][1:-1]) == {1.0}
    assert columns["counts"]["JOB_FINISHED"][-1] == 10_000
    assert columns["counts"]["JOB_FINISHED"][0] == 32


def test_the_last_point_says_how_many_there_are() -> None:
    history = History()
    assert history.last(0.0) is None
    history.add(100.0, {"READY": 1}, {}, 1, 0)
    history.add(101.0, {"READY": 2}, {"FAILED": 3}, 1, 0)
    last = history.last(now=102.0)
    assert last is not None
    assert (last["time"], last["length"], last["counts"], last["failed"]) == (101, 2, {"READY": 2}, 3)


def test_rates_are_those_of_the_last_ten_seconds() -> None:
    meter = Meter()
    meter.add(100.0, {})
    assert (meter.moves, meter.rates(100.0)) == (False, {"finished": 0, "failed": 0})
    meter.add(100.5, {"JOB_FINISHED": 50, "RUNNING": 70})
    assert meter.rates(100.5)["finished"] == 50
    meter.add(105.0, {"JOB_FINISHED": 50, "FAILED": 10})
    assert meter.rates(105.0) == {"finished": 20, "failed": 2}
    meter.add(111.0, {})
    assert meter.rates(111.0) == {"finished": 5, "failed": 1}
    meter.add(116.0, {})
    assert not meter.moves


def test_the_past_is_told_by_the_events_there_were() -> None:
    events = [
        (100.0, "a", ("CREATED", "READY", "STAGED_IN", "PREPROCESSED")),
        (100.5, "b", ("CREATED",)),
        (103.0, "a", ("RUNNING",)),
        (105.0, "a", ("RUN_DONE", "POSTPROCESSED", "JOB_FINISHED")),
        (105.5, "b", ("USER_KILLED",)),
        (106.0, "a", ()),
    ]
    past, width = look_back(events, {"JOB_FINISHED": 1, "USER_KILLED": 1})
    assert width == 1.0
    assert [(one.time, one.counts, one.finished, one.failed) for one in past] == [
        (100, {"PREPROCESSED": 1, "CREATED": 1}, 0, 0),
        (103, {"RUNNING": 1, "CREATED": 1}, 0, 0),
        (105, {"JOB_FINISHED": 1, "USER_KILLED": 1}, 1, 1),
    ]


def test_of_jobs_that_began_before_the_state_left_is_that_where_they_usually_come_from() -> None:
    past, _ = look_back([(100.0, "a", ("RUNNING",)), (110.0, "b", ("RUN_DONE",))], {"RUNNING": 1, "RUN_DONE": 1})
    assert [one.counts for one in past] == [{"RUNNING": 2}, {"RUNNING": 1, "RUN_DONE": 1}]


def test_no_count_is_negative_where_the_guess_was_wrong() -> None:
    past, _ = look_back([(100.0, "a", ("USER_KILLED",)), (101.0, "b", ("FAILED",))], {"FAILED": 1})
    assert all(number > 0 for one in past for number in one.counts.values())


def test_without_events_there_is_no_past() -> None:
    assert look_back([], {"READY": 1}) == ([], 1.0)


def test_the_past_covers_any_span_with_few_points() -> None:
    for seconds in (0.0, 1.0, 300.0, 301.0, 86_400.0, 1e8):
        assert seconds / width_for(seconds) <= MOST / 2
    assert (width_for(300.0), width_for(301.0)) == (1.0, 2.0)


def test_the_past_is_put_before_what_was_seen() -> None:
    history = History()
    history.add(200.0, {"READY": 1}, {}, 3, 1)
    history.put_before([Bucket(96.0, {"READY": 4}, 2), Bucket(200.0, {"READY": 9}, 9)], 8.0)
    columns = history.columns(now=300.0)
    assert (columns["width"], columns["time"]) == (8.0, [96, 200])
    assert columns["counts"]["READY"] == [4, 1]
    assert columns["nodes"] == [None, 3]
    assert columns["finished"] == [0.25, 0]


def test_points_are_merged_without_loss() -> None:
    found = merged([Bucket(1.0, {"A": 1}, 1, 2, 3, 1), Bucket(2.0, None, 4, 1), Bucket(9.0, {"A": 2}, 1, 0)], 8.0)
    assert [(one.time, one.counts, one.finished, one.failed, one.nodes) for one in found] == [
        (0, {"A": 1}, 5, 3, 3),
        (8, {"A": 2}, 1, 0, None),
    ]
