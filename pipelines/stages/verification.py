"""From completions to verdicts: answers are compared, programs are run in the sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from data.records import FinishReason, Kind, Problem, Rationale, Status, Verdict
from verifiers import ProgramVerdict, check_answers, program_case, run_programs
from verifiers.answers.extract import Extraction, extract_answer

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


def final_answer(text: str, problem: Problem) -> Extraction:
    """The answer that a rationale commits to; a program has none beside itself."""
    if problem.kind is Kind.CODE:
        return Extraction("", "program")
    return extract_answer(text, kind=verification_kind(problem.kind))


def check_texts(
    problems: Sequence[Problem],
    texts: Sequence[str],
    reasons: Sequence[FinishReason],
    answers: Sequence[Extraction] = (),
) -> list[Verdict]:
    """Verdicts on texts, one for each, its problem beside it. What the engine failed on is undecided, not wrong.

    Args:
        problems: of the texts.
        texts: what is checked.
        reasons: why each of them ended.
        answers: the `final_answer` of each, where it is known already.
    """
    failed = Verdict(status=Status.UNDECIDED, extracted="", method="", detail="engine_error")
    verdicts: dict[int, Verdict] = {}
    for kind in Kind:
        places = [place for place, problem in enumerate(problems)
                  if problem.kind is kind and reasons[place] is not FinishReason.ERROR]  # fmt: skip
        if kind is Kind.CODE:
            found = _programs([problems[place] for place in places], [texts[place] for place in places])
        else:
            pairs = [(problems[place].answer, texts[place]) for place in places]
            known = [answers[place] for place in places] if answers else ()
            found = check_answers(pairs, kind=verification_kind(kind), found=known)
        verdicts |= zip(places, found, strict=True)
    return [verdicts.get(place, failed) for place in range(len(problems))]


def check_rationales(
    problems: Sequence[Problem], rationales: Sequence[Rationale], answers: Sequence[Extraction] = ()
) -> Iterator[Verdict]:
    """Verdicts on rationales of these problems, as they are stored; see `check_texts`."""
    owner = {problem.id: problem for problem in problems}
    owners = [owner[row.problem_id] for row in rationales]
    texts, reasons = [row.text for row in rationales], [row.finish_reason for row in rationales]
    verdicts = check_texts(owners, texts, reasons, answers)
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
