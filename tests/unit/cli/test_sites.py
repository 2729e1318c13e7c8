"""Sites made, found, listed and pointed at; no services."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from balsam_cli import known_sites
from balsam_cli.main import main


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_init_makes_a_site_and_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my site"
    assert main(["init", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"export BALSAM_DB_PATH={shlex.quote(str(path))}" in out
    assert "balsam up" in out
    assert 'database = "sqlite"' in (path / "settings.toml").read_text()


@pytest.mark.parametrize("path", ["", "/proc/site", "file/site", "file"])
def test_init_refuses_what_cannot_be_a_site(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert main(["init", path]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_init_refuses_a_site_that_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "s"]) == 0
    assert main(["init", "s"]) == 1
    assert "is a Balsam site already" in capsys.readouterr().err


def test_init_refuses_a_database_that_it_does_not_know_without_repeating_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "s", "--db", "mysql://user:secret@host/db"]) == 1
    err = capsys.readouterr().err
    assert "sqlite, postgres, or a URL" in err
    assert "secret" not in err
    assert not Path("s").exists()


@pytest.mark.parametrize("url", ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg2://u@h/d", "postgres"])
def test_init_takes_a_postgresql(url: str) -> None:
    assert main(["init", "s", "--db", url]) == 0
    assert f'database = "{url}"' in Path("s/settings.toml").read_text()


def test_which_shows_the_nearest_site(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "s", "--json"])
    made = json.loads(capsys.readouterr().out)
    monkeypatch.chdir("s/data")
    assert main(["which", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made | {
        "state": "down",
        **dict.fromkeys(("version", "pid", "database", "schema_revision", "jobs", "user")),
    }


def test_known_sites_are_listed_and_found_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        main(["init", name])
    capsys.readouterr()
    main(["which", "--list", "--json"])
    assert [site["name"] for site in json.loads(capsys.readouterr().out)] == ["a", "b"]
    assert main(["which", "--name", "b"]) == 0
    assert str(tmp_path / "here" / "b") in capsys.readouterr().out
    assert main(["which", "--name", "c"]) == 1
    assert "(known: a, b)" in capsys.readouterr().err


def test_two_sites_of_one_name_need_a_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", str(tmp_path / "x" / "s")])
    main(["init", str(tmp_path / "y" / "s")])
    assert main(["activate", "s"]) == 1
    assert "several sites are called 's'" in capsys.readouterr().err
    assert main(["activate", str(tmp_path / "x" / "s")]) == 0


def test_a_site_that_is_gone_is_dropped_when_the_next_is_made(tmp_path: Path) -> None:
    main(["init", "a"])
    Path("a/settings.toml").unlink()
    main(["init", "b"])
    assert [site.name for site in known_sites.known()] == ["b"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sites": 3}'])
def test_a_damaged_list_counts_as_empty(text: str) -> None:
    main(["init", "a"])
    (known_sites.user_directory() / "sites.json").write_text(text)
    assert known_sites.known() == []


def test_activate_prints_lines_that_a_shell_understands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name = "it's $(touch pwned) mine"
    main(["init", name])
    capsys.readouterr()
    assert main(["activate", name, "--prompt"]) == 0
    script = capsys.readouterr().out + 'printf "%s\\n%s" "$BALSAM_DB_PATH" "${PS1@P}"'
    done = subprocess.run(["bash", "-c", f"PS1='> '\n{script}"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'here' / name}\n[it_s___touch_pwned__mine] > "
    assert not Path("pwned").exists()


def test_activate_refuses_what_is_no_site(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["activate", "nowhere"]) == 1
    assert "no site 'nowhere'" in capsys.readouterr().err
