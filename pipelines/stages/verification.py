"""From completions to verdicts: answers are compared, programs are run in the sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from data.records import FinishReason, Kind, Problem, Rationale, Status, Verdict
from verifiers import ProgramVerdict, check_answers, program_case, run_programs
from verifiers.answers.extract import extract_answer

_OF_PROGRAM = {
    ProgramVerdict.PASSED: Status.CORRECT,
    # The problem's tests or the sandbox failed: that says nothing about the program.
    ProgramVerdict.PROBLEM_ERROR: Status.UNDECIDED,
    ProgramVerdict.SANDBOX_ERROR: Status.UNDECIDED,
}
"""Every other verdict is the program's own failure, a limit that it ran into too."""


def verification_kind(kind: Kind) -> str:
    """How the verifier reads a rationale of this kind of problem."""
    return "choice" if kind is Kind.CHOICE else "text"


def final_answer(text: str, problem: Problem) -> str:
    """The answer that a rationale commits to; a program has none beside itself."""
    return "" if problem.kind is Kind.CODE else extract_answer(text, kind=verification_kind(problem.kind)).answer


def check_texts(problems: Sequence[Problem], texts: Sequence[str], reasons: Sequence[FinishReason]) -> list[Verdict]:
    """Verdicts on texts, one for each, its problem beside it. What the engine failed on is undecided, not wrong."""
    failed = Verdict(status=Status.UNDECIDED, extracted="", method="", detail="engine_error")
    verdicts: dict[int, Verdict] = {}
    for kind in Kind:
        places = [place for place, problem in enumerate(problems)
                  if problem.kind is kind and reasons[place] is not FinishReason.ERROR]  # fmt: skip
        if kind is Kind.CODE:
            found = _programs([problems[place] for place in places], [texts[place] for place in places])
        else:
            pairs = [(problems[place].answer, texts[place]) for place in places]
            found = check_answers(pairs, kind=verification_kind(kind))
        verdicts |= zip(places, found, strict=True)
    return [verdicts.get(place, failed) for place in range(len(problems))]


def check_rationales(problems: Sequence[Problem], rationales: Sequence[Rationale]) -> Iterator[Verdict]:
    """Verdicts on rationales of these problems, as they are stored."""
    owner = {problem.id: problem for problem in problems}
    owners = [owner[row.problem_id] for row in rationales]
    verdicts = check_texts(owners, [row.text for row in rationales], [row.finish_reason for row in rationales])
    for rationale, verdict in zip(rationales, verdicts, strict=True):
        yield replace(verdict, rationale_id=rationale.id)


def _programs(problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
    cases = (program_case(problem, text) for problem, text in zip(problems, texts, strict=True))
    return [
        Verdict(
            status=_OF_PROGRAM.get(result.verdict, Status.INCORRECT),
            extracted="",
            method="program",
            detail=f"{result.verdict}:{result.detail}".rstrip(":"),
            seconds=result.wall_s,
        )
        for result in run_programs(cases, workers=os.cpu_count() or 1)
    ]
