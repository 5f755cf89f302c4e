"""PRM800K in its original schema to labelled solutions, with a ledger in which every completion is accounted for.

One line is one labelled trajectory. Its steps offer several completions each, of which one (or a human's text) was
continued. So the alternatives are branches: a line becomes the solution that was continued, and one solution for each
other rated completion, made of the steps chosen before it and itself. The chosen steps are labelled in the first of
these only, so that no label counts twice. A line that ends at an error was rated no further: what the generator wrote
after it is unlabelled (`tail`), not wrong. Schema: openai/prm800k README; paper: Lightman et al., arXiv 2305.20050.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import Field

from data.config import Config
from data.sources.base import Row, RowError, text_field
from prm.labels.fields import flag, is_writable, list_field, object_field
from prm.labels.solution import LabelledSolution


class Prm800kOptions(Config):
    """How ratings become labels, and which lines are left out."""

    neutral: Literal["good", "bad", "mask", "soft", "class"] = "good"
    """What a rating of 0 means: right (the paper's choice), wrong, no label, `neutral_value`, or a class of its own: a
    rating without a value."""
    neutral_value: float = Field(default=0.5, ge=0, le=1)
    """The value of `soft`."""
    after_error: Literal["mask", "negative", "keep"] = "mask"
    """Phase 1 went on after a wrong step. Later ratings take it for granted: leave them out, call all of them wrong, or
    keep them."""
    repeat_prefix_labels: bool = False
    """Label the chosen steps in every branch. Then they count up to seven times; formats without a mask need it."""
    keep_quality_control: bool = False
    """Keep solutions that every labeler was served: the same ones again and again."""
    keep_screening: bool = False
    """Keep the 30 questions that new labelers were screened with."""


@dataclass(slots=True)
class Ledger:
    """What became of every line and of every completion in the lines that could be read."""

    lines: Counter[str] = field(default_factory=Counter)
    """`kept`, or why a line was dropped: `quality_control`, `screening`, `bad_problem`, `test_problem`, or the reason
    of its `Reject`."""
    completions: Counter[str] = field(default_factory=Counter)
    """`labelled`, or why a completion (or a human's text) has no label: `neutral_masked`, `unrated`, `flagged`,
    `after_error`, `empty_step`, `bad_utf8`, `broken_chain` (an unrated or empty step came before), `dropped_line`."""
    solutions: int = 0
    """Labelled solutions that were made."""


class _Mark(NamedTuple):
    """A step on a chain and its label."""

    text: str
    value: float | None
    rating: int | None

    @property
    def is_labelled(self) -> bool:
        return self.value is not None or self.rating is not None


class _Completion(NamedTuple):
    text: str
    rating: int | None
    flagged: bool


class _Step(NamedTuple):
    """A step of a line: what was offered, and which of it was continued; None where the line ends."""

    completions: list[_Completion]
    chosen: int | None


class Prm800kConverter:
    """Converts lines; the ledger fills as it goes.

    Args:
        options: how ratings become labels.
        test_problems: texts of problems that must not be trained on, such as those of MATH's test split (of which
            PRM800K's training set holds 4,500); white space does not matter.
    """

    def __init__(self, options: Prm800kOptions | None = None, test_problems: Collection[str] = ()) -> None:
        self.options = options or Prm800kOptions()
        self.ledger = Ledger()
        self._test_problems = {_normalized(problem) for problem in test_problems}

    def convert(self, row: Row) -> list[LabelledSolution]:
        """The labelled solutions of one line; none if the line is left out.

        Raises:
            RowError: the line is not of the schema; the ledger has counted it.
        """
        try:
            question, label = object_field(row, "question"), object_field(row, "label")
            problem, reason = text_field(question, "problem"), self._reason_to_drop(row, question, label)
            steps = [_read_step(step) for step in list_field(label, "steps")]
            if not _usable(problem):
                raise RowError("bad_utf8" if problem.strip() else "empty_problem", "the problem is no text")
        except RowError as error:
            self.ledger.lines[error.reason] += 1
            raise
        self.ledger.lines[reason or "kept"] += 1
        if reason:
            self.ledger.completions["dropped_line"] += sum(len(step.completions) for step in steps)
            return []
        solutions = self._solutions(row, question, label, steps)
        self.ledger.solutions += len(solutions)
        return solutions

    def _reason_to_drop(self, row: Row, question: Row, label: Row) -> str:
        if flag(row, "is_quality_control_question") and not self.options.keep_quality_control:
            return "quality_control"
        if flag(row, "is_initial_screening_question") and not self.options.keep_screening:
            return "screening"
        if label.get("finish_reason") == "bad_problem":
            return "bad_problem"
        return "test_problem" if _normalized(text_field(question, "problem")) in self._test_problems else ""

    def _solutions(self, row: Row, question: Row, label: Row, steps: Sequence[_Step]) -> list[LabelledSolution]:
        walk = _Walk(self.options, self.ledger.completions)
        for step in steps:
            walk.add(step)
        shared: dict[str, Any] = {
            "problem": question["problem"],
            "source": "human",
            "dataset": "prm800k",
            "row_id": f"{_usable(row.get('labeler'))} {_usable(row.get('timestamp'))}".strip(),
            "gold": _usable(question.get("ground_truth_answer")),
        }
        main, branches = walk.finish()
        found = []
        if any(mark.is_labelled for mark in main):
            found.append(_main_solution(main, question, label, shared))
        chosen = main if self.options.repeat_prefix_labels else [_Mark(mark.text, None, None) for mark in main]
        found += [_solution([*chosen[:depth], mark], shared) for depth, mark in branches]
        return found


class _Walk:
    """Follows the chosen steps of a line and collects the branches."""

    def __init__(self, options: Prm800kOptions, fates: Counter[str]) -> None:
        self._options = options
        self._fates = fates
        self._chain: list[_Mark] = []
        self._branches: list[tuple[int, _Mark]] = []
        self._after_error = False
        self._broken = False

    def add(self, step: _Step) -> None:
        """Take the next step of the line; count each of its completions once."""
        if self._broken:
            self._fates["broken_chain"] += len(step.completions)
            return
        depth = len(self._chain)
        for place, completion in enumerate(step.completions):
            fate, mark = self._judge(completion)
            self._fates[fate] += 1
            if place == step.chosen and fate not in ("unrated", "empty_step", "bad_utf8"):
                self._chain.append(mark)
            elif fate == "labelled":
                self._branches.append((depth, mark))
        if len(self._chain) == depth:
            self._broken = True
        elif step.chosen is not None and step.completions[step.chosen].rating == -1:
            self._after_error = True

    def finish(self) -> tuple[list[_Mark], list[tuple[int, _Mark]]]:
        """The solution that was continued furthest, and the other branches by the length of their prefix."""
        # Where nothing was continued, as at the error that ends a line, the first completion is the generator's own.
        ends = [place for place, (depth, _) in enumerate(self._branches) if depth == len(self._chain)]
        if ends:
            self._chain.append(self._branches.pop(ends[0])[1])
        return self._chain, self._branches

    def _judge(self, completion: _Completion) -> tuple[str, _Mark]:
        """What becomes of a completion, and its step with its label."""
        text, rating, flagged = completion
        bare = _Mark(text, None, None)
        if not text.strip():
            return "empty_step", bare
        if not is_writable(text):
            return "bad_utf8", bare
        if rating is None:
            return "unrated", bare
        if flagged:
            return "flagged", bare
        if self._after_error and self._options.after_error == "mask":
            return "after_error", bare
        if self._after_error and self._options.after_error == "negative":
            return "labelled", _Mark(text, 0.0, None)
        if rating == 0 and self._options.neutral == "mask":
            return "neutral_masked", bare
        return "labelled", _Mark(text, self._value_of(rating), rating)

    def _value_of(self, rating: int) -> float | None:
        if rating:
            return float(rating > 0)
        return {"good": 1.0, "bad": 0.0, "soft": self._options.neutral_value}.get(self._options.neutral)


def _main_solution(main: list[_Mark], question: Row, label: Row, shared: dict[str, Any]) -> LabelledSolution:
    """The continued solution: what follows its last labelled step goes to the tail."""
    n_labelled = max(at for at, mark in enumerate(main) if mark.is_labelled) + 1
    texts = [mark.text for mark in main]
    tail = tuple(texts[n_labelled:])
    written = question.get("pre_generated_steps")
    if isinstance(written, list) and written[: len(texts)] == texts:
        tail += tuple(text for text in map(_usable, written[len(texts) :]) if text)
    # Rated to the end without an error: its answer is right. Of any other, nobody says.
    whole = label.get("finish_reason") == "solution" and not tail
    outcome = True if whole and all(mark.rating in (0, 1) for mark in main) else None
    return _solution(main[:n_labelled], shared | {"tail": tail, "outcome": outcome})


def _solution(marks: Sequence[_Mark], fields: dict[str, Any]) -> LabelledSolution:
    texts, values, ratings = zip(*marks, strict=True)
    return LabelledSolution(steps=texts, values=values, ratings=ratings, **fields)


def _read_step(raw: object) -> _Step:
    """A step of the schema; a human's text is one more completion, rated right unless it says otherwise."""
    if not isinstance(raw, dict):
        raise RowError("bad_field", "a step is no object")
    completions = [_read_completion(one) for one in list_field(raw, "completions", optional=True)]
    chosen = raw.get("chosen_completion")
    if chosen is not None and (type(chosen) is not int or not 0 <= chosen < len(completions)):
        raise RowError("bad_field", f"chosen_completion is {chosen!r} of {len(completions)}")
    if raw.get("human_completion") is not None:
        human = _read_completion(raw["human_completion"])
        completions.append(human._replace(rating=1) if human.rating is None else human)
        chosen = len(completions) - 1 if chosen is None else chosen
    return _Step(completions, chosen)


def _read_completion(raw: object) -> _Completion:
    if not isinstance(raw, dict):
        raise RowError("bad_field", "a completion is no object")
    rating = raw.get("rating")
    if rating is not None and (type(rating) is not int or rating not in (-1, 0, 1)):
        raise RowError("bad_label", f"a rating of {rating!r}")
    return _Completion(text_field(raw, "text"), rating, flag(raw, "flagged"))


def _usable(value: object) -> str:
    return value if isinstance(value, str) and value.strip() and is_writable(value) else ""


def _normalized(text: str) -> str:
    return " ".join(text.split())
