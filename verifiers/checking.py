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
from itertools import repeat

from data.errors import UserError
from data.records import Status, Verdict
from verifiers import pool
from verifiers.answers import limits, literals, plain
from verifiers.answers.boxes import is_blank
from verifiers.answers.canonical import canonical, was_text
from verifiers.answers.decision import Decision, Outcome
from verifiers.answers.equivalence import FOR_ALGEBRA, decide, read
from verifiers.answers.extract import Extraction, extract_answer
from verifiers.answers.phrases import option_content, options
from verifiers.answers.policy import PROFILES, Policy
from verifiers.answers.tree import Builder, FiniteSet, Group, Listing, Matrix, Relation
from verifiers.answers.words import is_words

KINDS = ("auto", "answer", "text", "choice")
_KIND_OF = {Group: "tuple", FiniteSet: "set", Builder: "set", Listing: "list", Relation: "relation", Matrix: "matrix"}
_STATUS = {
    Outcome.EQUAL: Status.CORRECT,
    Outcome.DIFFERENT: Status.INCORRECT,
    Outcome.UNKNOWN: Status.UNDECIDED,
}


def check_answer(
    gold: str, prediction: str, *, kind: str = "auto", policy: str = "default", timeout_s: float = 1.5
) -> Verdict:
    """Check one answer.

    Args:
        gold: the right answer, bare.
        prediction: what the model wrote.
        kind: what the prediction is: `answer` (a bare answer), `text` (a solution to extract from), `choice` (a text
            whose answer is an option letter), or `auto` to decide between the first two.
        policy: `default`, `strict` (no rounding; units, percent signs and reduced fractions are required) or `lenient`
            (a decimal may round an exact gold answer).
        timeout_s: limit on sympy's opinion of this case, CPU seconds; nearly all need none.

    Returns:
        The verdict. `method` is the rule that decided, `detail` how the answer was found or why nothing was decided.
    """
    return check_answers([(gold, prediction)], kind=kind, policy=policy, timeout_s=timeout_s)[0]


def check_answers(
    pairs: Sequence[tuple[str, str]],
    *,
    kind: str = "auto",
    policy: str = "default",
    timeout_s: float = 1.5,
    workers: int = 1,
    found: Sequence[Extraction] = (),
) -> list[Verdict]:
    """Check many answers; verdicts come in the order of the pairs.

    Args:
        pairs: gold answer and prediction.
        kind: as in `check_answer`.
        policy: as in `check_answer`.
        timeout_s: limit on sympy's opinion of each single case, CPU seconds.
        workers: how many worker processes may do algebra at once for this call.
        found: what `extract_answer` finds in each prediction, where that is known already.

    Returns:
        One verdict for each pair.

    Raises:
        UserError: a pair is not two texts, or there is no such kind, policy or limit.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind '{kind}'.", f"Use one of: {', '.join(KINDS)}.")
    if policy not in PROFILES:
        raise UserError(f"unknown policy '{policy}'.", f"Use one of: {', '.join(PROFILES)}.")
    if workers < 1 or timeout_s <= 0:
        raise UserError("workers and timeout_s must be positive.")
    verdicts: list[Verdict] = []
    open_cases: dict[tuple[str, str], list[int]] = {}
    for place, ((gold, prediction), known) in enumerate(zip(pairs, found or repeat(None, len(pairs)), strict=True)):
        if not (isinstance(gold, str) and isinstance(prediction, str)):
            raise UserError(
                f"gold {gold!r} and prediction {prediction!r} are not both text.", "Give text, e.g. str(7)."
            )
        verdict, case = _check_plainly(gold, prediction, kind, PROFILES[policy], known)
        verdicts.append(verdict)
        if case is not None:
            # Samples of one problem often share an answer: each pair is worked out once.
            open_cases.setdefault(case, []).append(place)
    for case, verdict in zip(open_cases, _by_algebra(list(open_cases), timeout_s, workers), strict=True):
        for place in open_cases[case]:
            verdicts[place] = _settle(verdicts[place], verdict)
    return verdicts


def check_gold(gold: str) -> Verdict:
    """Whether a gold answer can be checked against: it is read, not merely compared with itself as a string.

    Args:
        gold: the gold answer.

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
    rule = _reading(answer)
    return _verdict(Status.CORRECT, answer, method=rule or "string", detail="" if rule else "unparsed", started=started)


def _reading(gold: str) -> str:
    """The rule that reads a gold answer; empty if only the very same text will count as right."""
    text = canonical(gold)
    number = plain.read(text)
    if number is not None:
        return number.rule
    if literals.base(text, text):
        return "base"
    if options(text) == [text.strip("(). ")]:
        return "choice"
    if is_words(text, marked=was_text(gold)):
        return "text"
    tree = read(text)
    return "" if tree is None else _KIND_OF.get(type(tree), "expression")


def _check_plainly(
    gold: str, prediction: str, kind: str, policy: Policy, found: Extraction | None
) -> tuple[Verdict, tuple[str, str] | None]:
    """A verdict, and the pair that algebra has to decide if plain rules did not."""
    started = time.perf_counter()
    answer = _bare_gold(gold)
    if not answer:
        return _verdict(Status.UNDECIDED, detail="empty_gold", started=started), None
    if kind == "choice" and len(letters := _several(answer)) > 1:
        found = extract_answer(prediction, kind="auto")
        status = Status.CORRECT if letters == _several(found.answer) else Status.INCORRECT
        return _verdict(status, found.answer, "choice", found.how, started), None
    found = found or extract_answer(prediction, kind=kind)
    if kind == "choice" and not found.answer and (content := option_content(answer)):
        # The option's content is as good an answer as its letter.
        answer, kind, found = content, "auto", extract_answer(prediction, kind="auto")
    if is_blank(found.answer):
        return _verdict(Status.NO_ANSWER, detail=found.how if not found.answer else "empty", started=started), None
    decision = _decide_choice(answer, found) if kind == "choice" else decide(answer, found.answer, policy=policy)
    if decision.outcome is not Outcome.UNKNOWN:
        verdict = _verdict(_STATUS[decision.outcome], found.answer, decision.rule, found.how, started)
        return verdict, None
    # Where no value was found sympy may know one; until it has spoken, `method` holds how the answer was found.
    ask = decision.rule in FOR_ALGEBRA
    verdict = _verdict(Status.UNDECIDED, found.answer, found.how if ask else "", "" if ask else decision.rule, started)
    return verdict, (answer, found.answer) if ask else None


def _several(text: str) -> set[str]:
    """The letters of an answer that marks several options (`AC`, `A and C`); empty if it is anything else."""
    marked = re.fullmatch(r"[(\s]*[A-J](?:[),\s]*(?:and|&)?[\s(]*[A-J]){1,6}[)\s.]*", text)
    return set(re.findall(r"[A-J]", text)) if marked else set()


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
