"""From a gold answer and a model's text to a verdict: extract, decide by plain rules, send only the rest to a worker.

A check that could not decide is `undecided` and says why (`timeout`, `worker_died`, `memory`, `too_large`,
`gold_unparsed`, `prediction_unparsed`, `empty_gold`, ...); it is never `incorrect`. A text that commits to nothing is
`no_answer`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from data.errors import UserError
from data.records import Status, Verdict
from verifiers import limits, plain, pool
from verifiers.canonical import canonical, was_text
from verifiers.equivalence import Decision, Outcome, decide
from verifiers.extract import Extraction, extract_answer
from verifiers.phrases import options
from verifiers.structure import group
from verifiers.wording import is_words

KINDS = ("auto", "answer", "text", "choice")
_STATUS = {
    Outcome.EQUAL: Status.CORRECT,
    Outcome.DIFFERENT: Status.INCORRECT,
    Outcome.UNKNOWN: Status.UNDECIDED,
}


def check_answer(gold: str, prediction: str, *, kind: str = "auto", timeout_s: float = 5.0) -> Verdict:
    """Check one answer.

    Args:
        gold: the right answer, bare.
        prediction: what the model wrote.
        kind: what the prediction is: `answer` (a bare answer), `text` (a solution to extract from), `choice` (a text
            whose answer is an option letter), or `auto` to decide between the first two.
        timeout_s: limit on the algebra of this case; plain rules need none.

    Returns:
        The verdict. `method` is the rule that decided, `detail` how the answer was found or why nothing was decided.
    """
    return check_answers([(gold, prediction)], kind=kind, timeout_s=timeout_s)[0]


def check_answers(
    pairs: Sequence[tuple[str, str]], *, kind: str = "auto", timeout_s: float = 5.0, workers: int = 1
) -> list[Verdict]:
    """Check many answers; verdicts come in the order of the pairs.

    Args:
        pairs: gold answer and prediction.
        kind: as in `check_answer`.
        timeout_s: limit on the algebra of each single case.
        workers: how many worker processes may do algebra at once for this call.

    Returns:
        One verdict for each pair.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind '{kind}'.", f"Use one of: {', '.join(KINDS)}.")
    if workers < 1 or timeout_s <= 0:
        raise UserError("workers and timeout_s must be positive.")
    verdicts: list[Verdict] = []
    open_cases: dict[tuple[str, str], list[int]] = {}
    for place, (gold, prediction) in enumerate(pairs):
        verdict, case = _check_plainly(gold, prediction, kind)
        verdicts.append(verdict)
        if case is not None:
            # Samples of one problem often share an answer: each pair is worked out once.
            open_cases.setdefault(case, []).append(place)
    for case, verdict in zip(open_cases, _by_algebra(list(open_cases), timeout_s, workers), strict=True):
        for place in open_cases[case]:
            verdicts[place] = _settle(verdicts[place], verdict)
    return verdicts


def check_gold(gold: str, *, timeout_s: float = 5.0) -> Verdict:
    """Whether a gold answer can be checked against: it is read, not merely compared with itself as a string.

    Args:
        gold: the gold answer.
        timeout_s: limit on reading it as a formula.

    Returns:
        `correct` with the rule that reads it; with method `string` and detail `unparsed` if only the very same text
        will count as right; `undecided` if it is empty or too large.
    """
    started = time.perf_counter()
    answer = _bare_gold(gold)
    if not answer:
        return _verdict(Status.UNDECIDED, detail="empty_gold", started=started)
    if refused := limits.refusal(answer):
        rule = "integer" if plain.digits(answer) else ""
        status = Status.CORRECT if rule else Status.UNDECIDED
        return _verdict(status, answer, method=rule, detail="" if rule else refused, started=started)
    rule = _plain_rule(canonical(answer))
    if not rule and is_words(canonical(answer), marked=was_text(answer)):
        rule = "text"
    if rule:
        return _verdict(Status.CORRECT, answer, method=rule, started=started)
    decision = pool.shared().decide(answer, "", timeout_s=timeout_s, mode="read")
    readable = decision.outcome is Outcome.EQUAL
    lost = not readable and decision.rule != "gold_unparsed"
    return _verdict(Status.UNDECIDED if lost else Status.CORRECT, answer,
                    method="symbolic" if readable else "" if lost else "string",
                    detail="" if readable else decision.rule if lost else "unparsed", started=started)  # fmt: skip


def _plain_rule(gold: str) -> str:
    number = plain.read(gold)
    if number is not None:
        return number.rule
    if re.fullmatch(r"-?[0-9A-Za-z]+_\{?\d+\}?", gold) and gold[0] in "-0123456789":
        return "base"
    found = group(gold)
    if found is not None and all(_plain_rule(item) for item in found.items):
        return found.kind
    if re.fullmatch(r"[-+]?\\infty", gold):
        return "infinity"
    return "choice" if options(gold) == [gold.strip("(). ")] else ""


def _check_plainly(gold: str, prediction: str, kind: str) -> tuple[Verdict, tuple[str, str] | None]:
    """A verdict, and the pair that algebra has to decide if plain rules did not."""
    started = time.perf_counter()
    answer = _bare_gold(gold)
    if not answer:
        return _verdict(Status.UNDECIDED, detail="empty_gold", started=started), None
    found = extract_answer(prediction, kind=kind)
    blank = len(found.answer) <= limits.MAX_CHARS and not canonical(found.answer)
    if blank:
        return _verdict(Status.NO_ANSWER, detail=found.how if not found.answer else "empty", started=started), None
    decision = _decide_choice(answer, found) if kind == "choice" else decide(answer, found.answer)
    if decision.outcome is not Outcome.UNKNOWN:
        verdict = _verdict(_STATUS[decision.outcome], found.answer, decision.rule, found.how, started)
        return verdict, None
    refused = limits.refusal(answer) or limits.refusal(found.answer)
    # Until algebra has spoken, `method` holds how the answer was found.
    verdict = _verdict(Status.UNDECIDED, found.answer, "" if refused else found.how, refused, started)
    return verdict, None if refused else (answer, found.answer)


def _bare_gold(gold: str) -> str:
    return extract_answer(gold, kind="answer").answer


def _decide_choice(gold: str, found: Extraction) -> Decision:
    letters = options(gold)
    if len(letters) != 1:
        return decide(gold, found.answer)
    return Decision(Outcome.EQUAL if letters == [found.answer] else Outcome.DIFFERENT, "choice")


def _by_algebra(cases: list[tuple[str, str]], timeout_s: float, workers: int) -> list[Verdict]:
    def check(case: tuple[str, str]) -> Verdict:
        started = time.perf_counter()
        decision = pool.shared(workers).decide(*case, timeout_s=timeout_s)
        decided = decision.outcome is not Outcome.UNKNOWN
        return _verdict(_STATUS[decision.outcome], method=decision.rule if decided else "",
                        detail="" if decided else decision.rule, started=started)  # fmt: skip

    if min(workers, len(cases)) <= 1:
        return [check(case) for case in cases]
    with ThreadPoolExecutor(min(workers, len(cases)), thread_name_prefix="verifiers") as threads:
        return list(threads.map(check, cases))


def _settle(plainly: Verdict, algebra: Verdict) -> Verdict:
    return replace(plainly, status=algebra.status, method=algebra.method, detail=algebra.detail or plainly.method,
                   seconds=plainly.seconds + algebra.seconds)  # fmt: skip


def _verdict(
    status: Status, extracted: str = "", method: str = "", detail: str = "", started: float | None = None
) -> Verdict:
    seconds = time.perf_counter() - started if started is not None else 0.0
    return Verdict(status=status, extracted=extracted, method=method, detail=detail, seconds=seconds)
