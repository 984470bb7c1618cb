"""Finding out what a file does not say: from answers, from its published flags, or by asking with the likely answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from farfield.checkpoints.checkpoint import Answers, Finding, Question
from farfield.core.error import FarfieldError


class Inquiry:
    """One file's questions, each settled or left open.

    Args:
        path: of the file, for messages.
        answers: given ones; they go before known ones.
        known: answers from elsewhere.
        source: where ``known`` comes from, in words.
    """

    def __init__(self, path: Path, answers: Answers, known: Mapping[str, Any], source: str):
        self.path, self.answers, self.known, self.source = path, answers, known, source
        self.sources = dict.fromkeys(known, source)
        self.findings: list[Finding] = []
        self.questions: list[Question] = []

    def learn(self, known: Mapping[str, Any], source: str) -> None:
        """Know more answers, from elsewhere; what is known already stays."""
        self.known = {**known, **self.known}
        self.sources = {**dict.fromkeys(known, source), **self.sources}

    def settle(self, question: Question) -> Any:
        """The answer; the likely one where there is none, and the question is then open.

        Raises:
            FarfieldError: the given answer cannot be.
        """
        if question.name in self.answers:
            value, why = self._parsed(question), "as answered"
        elif question.name in self.known:
            value, why = self.known[question.name], self.sources[question.name]
        else:
            self.questions.append(question)
            return question.likely
        self.findings.append(Finding(question.name, value, why))
        return value

    def refuse_others(self, names: Iterable[str]) -> None:
        """Refuse answers to what is never asked."""
        names = sorted(names)
        if others := sorted(set(self.answers) - set(names)):
            raise FarfieldError(
                f"{self.path}: an answer to {', '.join(others)}, which is no question here; expected {', '.join(names)}"
            )

    def _parsed(self, question: Question) -> Any:
        """A given answer, which may be text, as the kind of value that the likely one is."""
        given = self.answers[question.name]
        text = str(given).strip().lower()
        value: Any = text
        if isinstance(question.likely, bool):
            value = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text)
        elif isinstance(question.likely, int):
            value = int(text) if text.isdecimal() and 0 < len(text) < 10 and int(text) > 0 else None
        elif isinstance(question.likely, float):
            value = _positive(text)
        if value is None or (question.choices and value not in question.choices):
            numbers = "a number above 0" if isinstance(question.likely, float) else "a whole number from 1"
            kind = "yes or no" if isinstance(question.likely, bool) else numbers
            wanted = f"one of {', '.join(map(str, question.choices))}" if question.choices else kind
            raise FarfieldError(
                f"{self.path}: {question.name}={given!r}: {question.ask}; expected {wanted}, such as {question.likely}"
            )
        return value


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
