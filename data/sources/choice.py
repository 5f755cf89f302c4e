"""Multiple choice: AQuA, CommonsenseQA, StrategyQA. Each function reads one raw row.

The prompt is the question alone; the options are `choices`, without their letters, and the answer is a letter.
"""

from __future__ import annotations

import re

from data.records import Kind, Problem
from data.sources.base import LETTERS, Row, RowError, optional_text, text_field

_LABEL = re.compile(r"\s*\(?[A-Z]\s*[).:]\s*")


def parse_aqua(row: Row) -> Problem:
    """Fields `question`, `options` (`A)21`), `correct` (a letter) and `rationale`."""
    options = _texts(row.get("options"), "options")
    choices = tuple(_LABEL.sub("", option, count=1) if _LABEL.match(option) else option for option in options)
    return Problem.create(
        prompt=text_field(row, "question"),
        answer=optional_text(row, "correct").strip(),
        kind=Kind.CHOICE,
        choices=choices,
        solution=optional_text(row, "rationale"),
    )


def parse_commonsenseqa(row: Row) -> Problem:
    """The original's nested `question` (`stem`, `choices`) or the hub's flat form; the answer is `answerKey`."""
    question = row.get("question")
    nested = question if isinstance(question, dict) else {}
    stem = text_field(nested, "stem") if nested else text_field(row, "question")
    labels, texts = _labelled(nested.get("choices") if nested else row.get("choices"))
    key = optional_text(row, "answerKey").strip()
    if not key:
        raise RowError("no_answer", "no 'answerKey' (the public test split has none)")
    if key not in labels:
        raise RowError("bad_answer", f"answer '{key[:20]}' is none of the choices")
    # By place, so that a file which labels its choices 1 to 5 reads the same.
    answer = LETTERS[labels.index(key) % len(LETTERS)]
    return Problem.create(prompt=stem, answer=answer, kind=Kind.CHOICE, choices=tuple(texts))


def _labelled(choices: object) -> tuple[list[str], list[str]]:
    """Labels and texts of `[{label, text}, ...]` or of `{label: [...], text: [...]}`."""
    if isinstance(choices, dict):
        labels, texts = _texts(choices.get("label"), "label"), _texts(choices.get("text"), "text")
    elif isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
        labels = [text_field(choice, "label") for choice in choices]
        texts = [text_field(choice, "text") for choice in choices]
    else:
        raise RowError("bad_choices", "'choices' is neither a list of objects nor an object of lists")
    if len(labels) != len(texts):
        raise RowError("bad_choices", f"{len(labels)} labels for {len(texts)} texts")
    return labels, texts


def _texts(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RowError("bad_choices", f"field '{name}' is not a list of texts")
    return value


def parse_strategyqa(row: Row) -> Problem:
    """BIG-bench's `input`, `target_scores`, `target`, or the original's `question`, `answer` (a boolean), `facts`.

    The solution is the reasoning without the verdict that BIG-bench puts before it.
    """
    if "target_scores" in row:
        answer = _best_target(row["target_scores"])
        prompt, solution = text_field(row, "input"), re.sub(r"\A(?:Yes|No)\.\s*", "", optional_text(row, "target"))
    else:
        truth = row.get("answer")
        if not isinstance(truth, bool):
            raise RowError("no_answer" if truth is None else "bad_answer", "field 'answer' is not true or false")
        facts = row.get("facts")
        answer, prompt = ("A" if truth else "B"), text_field(row, "question")
        solution = " ".join(_texts(facts, "facts")) if isinstance(facts, list) else optional_text(row, "facts")
    return Problem.create(prompt=prompt, answer=answer, kind=Kind.CHOICE, choices=("Yes", "No"), solution=solution)


def _best_target(scores: object) -> str:
    if not isinstance(scores, dict):
        raise RowError("bad_answer", "'target_scores' is not an object")
    yes, no = scores.get("Yes"), scores.get("No")
    if not isinstance(yes, int | float) or not isinstance(no, int | float) or yes == no:
        raise RowError("no_answer", "'target_scores' does not prefer Yes or No")
    return "A" if yes > no else "B"
