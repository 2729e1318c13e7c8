"""How options may be spelled: `_` for `-`, unambiguous prefixes, several words after one option.

Pure: words in, words out. Click's own parser then sees full names with attached values only.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


class Arity(enum.Enum):
    """What follows an option."""

    FLAG = "nothing"
    VALUE = "one word"
    WORDS = "one or more words, up to the next option"
    BOOLEAN = "true or false, or nothing: true; `--no-NAME` is false"


class Words(enum.Enum):
    """Where words that belong to no option may stand."""

    ANYWHERE = "anywhere"
    END_OPTIONS = "the first of them ends the options"
    AFTER_DASHES = "after `--` only"


@dataclass(frozen=True)
class Option:
    """One option, with all its spellings, long and short."""

    names: tuple[str, ...]
    arity: Arity
    hidden: bool = False
    """One of Balsam 0.x: understood where it is written out, and told to nobody."""

    @property
    def full(self) -> str:
        """The spelling that all others stand for."""
        return next((name for name in self.names if name.startswith("--")), self.names[0])


class SpellingError(Exception):
    """A word that cannot be understood; the message says why."""


TRUE = ("true", "yes", "1")
FALSE = ("false", "no", "0")
_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Speller:
    """The options of one command, and what may be written for them."""

    def __init__(self, options: Sequence[Option], words: Words = Words.ANYWHERE) -> None:
        self._words = words
        self._long: dict[str, tuple[Option, bool]] = {}  # name -> option, whether it negates it
        self._short: dict[str, Option] = {}
        for option in options:
            for name in option.names:
                if name.startswith("--"):
                    self._long[name] = (option, False)
                    if option.arity is Arity.BOOLEAN:
                        self._long["--no-" + name[2:]] = (option, True)
                else:
                    self._short[name] = option

    def spell_out(self, argv: Sequence[str]) -> list[str]:
        """`argv` with full names and attached values.

        Raises:
            SpellingError: an option is unknown, ambiguous, or lacks its value.
        """
        out: list[str] = []
        words: list[int] = []  # where in it those stand that belong to no option
        after_words = ""  # the option whose words came last, for a hint
        rest = list(reversed(argv))
        while rest:
            word = rest.pop()
            if word == "--":
                return [*out, word, *reversed(rest)]
            if word.startswith("--"):
                option, parts = self._long_option(word, rest, after_words)
                after_words = option.full if option.arity is Arity.WORDS else ""
                out += parts
            elif word.startswith("-") and len(word) > 1 and not _NUMBER.fullmatch(word):
                out += self._short_option(word, rest)
            elif self._words is Words.END_OPTIONS:
                return [*out, "--", word, *reversed(rest)]
            elif self._words is Words.AFTER_DASHES:
                raise SpellingError(f"unexpected word {word!r}; the words of a command come after `--`")
            else:
                words.append(len(out))
                out.append(word)
        return _with_words_apart(out, words)

    def _long_option(self, word: str, rest: list[str], after_words: str) -> tuple[Option, list[str]]:
        given, attached, value = word.partition("=")
        name = self._full_name(given, after_words)
        option, negated = self._long[name]
        full = option.full
        if option.arity is Arity.BOOLEAN:
            return option, [f"{full}={self._truth(name, negated, value if attached else None, rest)}"]
        if attached:
            return option, [f"{full}={value}"]
        if option.arity is Arity.FLAG:
            return option, [full]
        values = [self._value(name, rest)]
        if option.arity is Arity.WORDS:
            values += _plain_words(rest)
        return option, [f"{full}={value}" for value in values]

    def _full_name(self, given: str, after_words: str) -> str:
        name = "--" + given[2:].replace("_", "-")
        if name in self._long:
            return name
        fits = sorted(
            known for known, (option, _) in self._long.items() if known.startswith(name) and not option.hidden
        )
        if len({self._long[known] for known in fits}) == 1:
            return fits[0]
        if fits:
            raise SpellingError(f"{given} is ambiguous: it could be {', '.join(fits)}")
        raise SpellingError(self._unknown(given, after_words))

    def _unknown(self, given: str, after_words: str = "") -> str:
        import difflib

        known = self._listed()
        near = difflib.get_close_matches(given.replace("_", "-"), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        if after_words:
            hint += f"; to pass it on as a word, write {after_words}='... {given} ...'"
        return f"no such option {given}{hint} (options: {', '.join(known)})"

    def _listed(self) -> list[str]:
        """The long options, for people."""
        return [name for name, (option, negated) in self._long.items() if not negated and not option.hidden]

    def _value(self, name: str, rest: list[str]) -> str:
        """The word after an option; a word that is itself a full option is not a value."""
        if not rest or rest[-1] == "--" or self._is_option(rest[-1]):
            found = f", not the option {rest[-1]} (if you mean that text, write {name}={rest[-1]})" if rest else ""
            raise SpellingError(f"{name} needs a value{found}")
        return rest.pop()

    def _is_option(self, word: str) -> bool:
        return "--" + word[2:].partition("=")[0].replace("_", "-") in self._long if word[:2] == "--" else False

    def _truth(self, name: str, negated: bool, value: str | None, rest: list[str]) -> str:
        if value is None and rest and rest[-1].lower() in TRUE + FALSE and not negated:
            value = rest.pop()
        if value is None:
            return "false" if negated else "true"
        if negated or value.lower() not in TRUE + FALSE:
            expected = "takes no value" if negated else "must be true or false"
            raise SpellingError(f"{name} = {value!r}: {expected}")
        return "true" if value.lower() in TRUE else "false"

    def _short_option(self, word: str, rest: list[str]) -> list[str]:
        option = self._short.get(word[:2])
        if option is None:
            known = ", ".join([*self._short, *self._listed()])
            raise SpellingError(f"no such option {word[:2]} (options: {known})")
        full = option.full
        if option.arity is not Arity.FLAG:
            return [f"{full}={word[2:] or self._value(word, rest)}"]
        if len(word) > 2:
            rest.append("-" + word[2:])
        return [full]


def _with_words_apart(out: list[str], words: Sequence[int]) -> list[str]:
    """With the words behind `--` where one is a negative number: click would take it for an option."""
    if not any(out[at].startswith("-") and len(out[at]) > 1 for at in words):
        return out
    apart = {*words}
    return [*(part for at, part in enumerate(out) if at not in apart), "--", *(out[at] for at in words)]


def _plain_words(rest: list[str]) -> Iterator[str]:
    """Takes words up to the next one that looks like an option; negative numbers do not."""
    while rest and (not rest[-1].startswith("-") or rest[-1] == "-" or _NUMBER.fullmatch(rest[-1])):
        yield rest.pop()
