"""No shell reads what a caller has sent."""

from __future__ import annotations

import pytest

from scripts.check_imports import ROOT
from scripts.check_shells import EXCEPTIONS, main, violations


def test_no_shell_is_started_but_where_an_application_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run(text, shell=True)",
        "subprocess.Popen(text, shell=wanted)",
        "os.system(text)",
        "os.popen(text)",
        "os.execvp(name, words)",
        "await asyncio.create_subprocess_shell(text)",
        "subprocess.getoutput(text)",
        "def run(name):\n    return ['sh', '-c', f'ls {name}']",
        "words = ('/bin/bash', '-c', text)",
        "words = [shell, '-c', text]",
        "words = ['env', 'A=1', 'sh', '-c', text]",
        "words = ['sh', '-c', 'ls ' + name]",
    ],
)
def test_a_shell_is_found(source: str) -> None:
    assert [*violations(f"async def f():\n    {source}" if "await" in source else source)]


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run(['ls', name])",
        "subprocess.run(['ls', name], shell=False)",
        "TEXT = 'ls \"$1\"'\nwords = ['/bin/sh', '-c', TEXT, 'sh', name]",
        "words = ['sh', '-c', 'ls \"$1\"', 'sh', name]",
        "words = [sys.executable, '-I', '-c', code]",
        "words = [sys.executable, '-c', code]",
        "command += ['-c', f'{name}={value}']",
    ],
)
def test_words_are_no_shell(source: str) -> None:
    assert [*violations(source)] == []


def test_the_exceptions_are_there() -> None:
    for name, functions in EXCEPTIONS.items():
        source = (ROOT / name).read_text()
        assert [*violations(source)], f"{name} needs no exception any more"
        assert all(f"def {function}(" in source for function in functions)
