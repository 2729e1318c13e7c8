"""What a launcher can be told."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.errors import ValidationError
from balsam_launcher.options import LauncherOptions, launch_of


@pytest.mark.parametrize(
    "wrong",
    [
        {"job_mode": "both"},
        {"time_limit_minutes": 0},
        {"time_limit_minutes": float("nan")},
        {"limit_nodes": 0},
        {"offset_nodes": -1},
        {"gpus_per_node": -1},
    ],
)
def test_a_wrong_option_is_named_with_its_value(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValidationError, match=f"{name} = {value!r}"):
        LauncherOptions(**wrong)


def test_the_environment_names_the_launch() -> None:
    assert [launch_of({}), launch_of({"BALSAM_LAUNCH_ID": ""}), launch_of({"BALSAM_LAUNCH_ID": "17"})] == [
        None,
        None,
        17,
    ]


@pytest.mark.parametrize("text", ["x", "0", "-1", "1.5", "٣", "9" * 30])
def test_what_is_no_id_of_a_launch_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=f"BALSAM_LAUNCH_ID = '{text}': must be the id of a launch"):
        launch_of({"BALSAM_LAUNCH_ID": text})
