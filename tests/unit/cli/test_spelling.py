"""How options may be spelled."""

from __future__ import annotations

import pytest

from balsam_cli.spelling import Arity, Option, Speller, SpellingError, Words

OLD = Option(("--wall-clock",), Arity.VALUE, hidden=True)
OPTIONS = (
    OLD,
    Option(("--name",), Arity.VALUE),
    Option(("--application", "--app"), Arity.VALUE),
    Option(("--args",), Arity.WORDS),
    Option(("--ranks-per-node",), Arity.VALUE),
    Option(("--wall-time-minutes",), Arity.VALUE),
    Option(("--wait-for-parents",), Arity.BOOLEAN),
    Option(("-f", "--follow"), Arity.FLAG),
    Option(("--lines", "-n"), Arity.VALUE),
)


def spell(*argv: str, words: Words = Words.ANYWHERE) -> list[str]:
    return Speller(OPTIONS, words).spell_out(argv)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("--ranks_per_node 2", "--ranks-per-node=2"),
        ("--ranks-per-node=2", "--ranks-per-node=2"),
        ("--ranks_per_node=2", "--ranks-per-node=2"),
        ("--rank 2", "--ranks-per-node=2"),
        ("--wall 5", "--wall-time-minutes=5"),
        ("--app sim", "--application=sim"),
        ("--appl sim", "--application=sim"),
        ("-f job", "--follow job"),
        ("-fn 3", "--follow --lines=3"),
        ("-n3", "--lines=3"),
        ("job -3 --name x word", "--name=x -- job -3 word"),
        ("--fol", "--follow"),
    ],
)
def test_underscores_prefixes_and_short_options(argv: str, expected: str) -> None:
    assert spell(*argv.split()) == expected.split()


def test_an_old_option_is_understood_where_it_is_written_out_and_told_to_nobody() -> None:
    assert spell("--wall_clock", "5") == ["--wall-clock=5"]
    assert spell("--wal", "5") == ["--wall-time-minutes=5"]
    with pytest.raises(SpellingError) as caught:
        spell("--wall-clok", "5")
    assert "--wall-clock" not in str(caught.value)
    with pytest.raises(SpellingError) as caught:
        spell("-x")
    assert "--wall-clock" not in str(caught.value)


def test_both_spellings_of_one_option_make_no_prefix_ambiguous() -> None:
    assert spell("--ap", "sim") == ["--application=sim"]


def test_an_ambiguous_prefix_names_what_it_could_be() -> None:
    with pytest.raises(SpellingError, match=r"--wa is ambiguous.*--wait-for-parents.*--wall-time-minutes"):
        spell("--wa", "3")


def test_an_unknown_option_names_the_nearest_and_all() -> None:
    with pytest.raises(SpellingError, match=r"no such option --nmae; did you mean --name\? \(options: --name, "):
        spell("--nmae", "x")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--args", "a", "b", "c", "--name", "n"], ["--args=a", "--args=b", "--args=c", "--name=n"]),
        (["--args", "--seed 3 --fast"], ["--args=--seed 3 --fast"]),
        (["--args", "-x", "5"], ["--args=-x", "--args=5"]),
        (["--args", "1", "-2", "-0.5", "-1e-3"], ["--args=1", "--args=-2", "--args=-0.5", "--args=-1e-3"]),
        (["--args=--name x"], ["--args=--name x"]),
        (["--args", "a", "--", "b"], ["--args=a", "--", "b"]),
    ],
)
def test_words_go_up_to_the_next_option(argv: list[str], expected: list[str]) -> None:
    assert spell(*argv) == expected


def test_an_unknown_option_after_words_is_refused_with_the_way_to_pass_it_on() -> None:
    with pytest.raises(SpellingError, match=r"no such option --verbose; .*write --args='\.\.\. --verbose \.\.\.'"):
        spell("--args", "run", "--verbose")


@pytest.mark.parametrize(
    "argv", [["--name"], ["--name", "--args", "a"], ["--args", "--name"], ["--name", "--"], ["-n"]]
)
def test_an_option_is_no_value(argv: list[str]) -> None:
    with pytest.raises(SpellingError, match="needs a value"):
        spell(*argv)


def test_a_value_may_start_with_a_dash() -> None:
    assert spell("--name", "-x", "--lines", "-3", "--app", "--unknown") == [
        "--name=-x",
        "--lines=-3",
        "--application=--unknown",
    ]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("--wait-for-parents", "true"),
        ("--wait-for-parents false", "false"),
        ("--wait-for-parents=No", "false"),
        ("--wait_for_parents 1", "true"),
        ("--no-wait-for-parents", "false"),
    ],
)
def test_a_boolean_option_stands_alone_or_takes_a_truth_value(argv: str, expected: str) -> None:
    assert spell(*argv.split()) == [f"--wait-for-parents={expected}"]


def test_a_boolean_option_leaves_other_words_alone() -> None:
    assert spell("--wait-for-parents", "job") == ["--wait-for-parents=true", "job"]


@pytest.mark.parametrize("argv", ["--wait-for-parents=perhaps", "--no-wait-for-parents=true"])
def test_what_is_neither_true_nor_false_is_refused(argv: str) -> None:
    with pytest.raises(SpellingError, match="true"):
        spell(argv)


def test_the_words_of_a_command_are_not_options() -> None:
    assert spell("--name", "n", "ls", "-l", "--name", words=Words.END_OPTIONS) == [
        "--name=n",
        "--",
        "ls",
        "-l",
        "--name",
    ]
    assert spell("--name", "n", "--", "ls", "-l") == ["--name=n", "--", "ls", "-l"]


def test_a_stray_word_is_refused_where_commands_come_after_dashes() -> None:
    assert spell("--name", "n", "--", "ls", words=Words.AFTER_DASHES) == ["--name=n", "--", "ls"]
    with pytest.raises(SpellingError, match="unexpected word 'ls'"):
        spell("--name", "n", "ls", words=Words.AFTER_DASHES)
