"""The final answer that a text commits to, and how it was found; pure, linear in the length of the text.

The latest commitment wins: a box, a `####` line, a sentence such as "the answer is", or bold type standing for one.
Only where there is none does the last formula or number count, and then the result says so (`last_formula`,
`last_number`). Several answers (`3 or 4`, boxes joined by "and", "or" or a comma: `boxed_list`) are one list, which
equals no single gold. No answer at all, with the reason in `how`, is the result of

- an empty or unclosed last box (earlier boxes do not count) or an empty `####` line: `empty_box`, `unclosed_box`,
  `empty_hash`;
- a denial or retraction ("the answer is not 4", "4. Wait, that is wrong"): `retracted`;
- a hedge instead of a commitment ("could be 4", "I don't know"): `no_final_answer`;
- reasoning that was cut off (`<think>` without its end): `unfinished`.

After `</think>` only what follows it counts, and a hallucinated next problem after a commitment is cut away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifiers.answers import numerals, plain
from verifiers.answers.boxes import BOX, last_box, read_box, with_neighbours
from verifiers.answers.canonical import canonical
from verifiers.answers.literals import letter
from verifiers.answers.phrases import NO_PAYLOAD, Candidate, hash_lines, options, sentences, tags
from verifiers.answers.prose import is_sentence, stated
from verifiers.answers.sections import sections

_PROSE_WORD = re.compile(r"(?<![\\\w])[A-Za-z]{2,}\b")
_CONDITION = re.compile(
    r"\b(?:not|no|never|than|least|most|between|either|or|if|unless|maybe|perhaps|possibly)\b|n't", re.IGNORECASE
)
"""Words that make the number of a sentence something else than its answer."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """A final answer and how it was found."""

    answer: str
    """The answer as written, without its box or sentence; empty if there is none."""
    how: str
    """`boxed`, `boxed_list`, `hash`, `phrase`, `phrase_number`, `bold`, `tag`, `last_formula`, `last_number`, `letter`,
    `as_given`, or why there is none."""


_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_NUMBER = re.compile(
    r"(?<![\w.,/])[-−]?(?:\\?\$)?(?:\\d?frac\{-?\d+\}\{\d+\}|(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?:\\?%)?)(?!\w)"
)
_HEDGE = re.compile(
    r"(?:do|did)(?:n't| not) know|not sure|cannot|can't|unsure|no idea|(?:could|might|may) be|maybe|perhaps|\d ?\?"
    r"|\bno (?:final )?(?:answer|solution)\b",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"[\s$.*)}\]]*(?:(?:no|wait|hmm|oops|scratch that)\b|actually,"
    r"|(?:that|this)(?:'s| is| was) (?:wrong|incorrect|not (?:right|correct)))", re.IGNORECASE)  # fmt: skip
_ALTERNATIVE = re.compile(r"\b(?:alternatively|or (?:maybe|perhaps|possibly))\b[^.\n]*$", re.IGNORECASE)
_NEXT_PROBLEM = re.compile(r"\n[ \t]*(?:#+ *|\*\*)?(?:Question|Problem|Q|User|Human|Instruction)(?: ?\d+)?(?:\*\*)?:",
                           re.IGNORECASE)  # fmt: skip
_FENCED = re.compile(r"```(?:python|py)\b.*?(?:```|\Z)", re.DOTALL)
"""A program is no statement of its result."""
_FORMULA = re.compile(r"\$[^$\n]{1,200}\$|\\\(.{1,200}?\\\)")
_PROSE = re.compile(r"[A-Z][a-z]+ [^=<>\\^]*\.")
_MATH_OR_NONE = re.compile(r"\d|[\\^=<>]|^no solution$")
_NEAR, _FAR = 400, 20_000
_MAX_TEXT = 100_000
"""Characters from the end in which an answer is looked for."""
_MAX_BARE = 200


def extract_answer(text: str, *, kind: str) -> Extraction:
    """Find the answer that a text commits to.

    Args:
        text: a bare answer, a whole solution, or model output of any kind.
        kind: `answer` (the text is the answer), `text` (a solution), `choice` (an option letter), `auto`.

    Returns:
        The answer and how it was found.
    """
    auto = kind == "auto"
    if auto:
        kind = "answer" if looks_bare(text) else "text"
    if kind == "answer":
        bare = _bare(text)
        # A sentence is taken for what it states, in `auto` alone: whoever says `answer` gives one.
        said = stated(bare.answer) if auto and is_sentence(bare.answer) else ""
        if auto and not said and _PROSE.fullmatch(bare.answer):
            said = _only_number(bare.answer)
        return Extraction(said, "sentence") if said else bare
    cut = _final_part(text[-_MAX_TEXT:])
    if cut is None:
        return Extraction("", "unfinished")
    if kind == "choice":
        return _choice(cut)
    found = _latest(cut)
    if found is None:
        return _last_resort(cut)
    return _settled(cut, found)


def looks_bare(text: str) -> bool:
    """Whether a text is an answer by itself: one short line without any phrase of commitment."""
    bare = text.strip()
    if plain.digits(bare) or (len(bare) <= _MAX_BARE and (sections(bare) or numerals.read(bare) is not None)):
        return True
    if (
        "\n" in bare
        or len(bare) > _MAX_BARE
        or BOX.search(bare)
        or "####" in bare
        or re.search(r"think>|<answer>", bare)
    ):
        return False
    prose = re.search(r"(?<!\b[A-Z][a-z]{2})[.!?]\s+\w", bare) or len(re.findall(r"(?<![\\{])\b[A-Za-z]{2,}", bare)) > 8
    return not prose and next(sentences(bare), None) is None


def _bare(text: str) -> Extraction:
    box = last_box(text) if "\\" in text else None
    whole = box is not None and not re.sub(r"[\s$.]", "", text[: box.start])
    answer = box.payload if box and whole and box.how == "boxed" else text.strip()
    return Extraction(answer, "as_given") if answer else Extraction("", "empty")


def _final_part(text: str) -> str | None:
    """What follows the reasoning, without a next problem; None if the reasoning never ended."""
    end = text.rfind("</think>")
    if text.rfind("<think>") > end:
        return None
    text = text[end + len("</think>") :] if end >= 0 else text
    box = BOX.search(text)
    firsts = (
        next(hash_lines(text), None),
        next(tags(text), None),
        next(sentences(text), None),
        read_box(text, box) if box else None,
    )
    first = min((candidate.end for candidate in firsts if candidate), default=len(text))
    following = _NEXT_PROBLEM.search(text, first)
    return text[: following.start()] if following else text


def _latest(text: str) -> Candidate | None:
    """The last commitment in the text; bold type counts where nothing firmer does."""
    box = last_box(text)
    found = [*hash_lines(text), *tags(text), *sentences(text)]
    if box is not None:
        # After a box, a sentence that names no plain answer talks about it ("the answer is in lowest terms").
        found = [box, *(later for later in found if later.start > box.start and _corrects(later))]
    if found:
        return max(found, key=lambda candidate: candidate.start)
    # Bold type higher up is a heading ("**Last 3 customers**"); in the closing line it is the answer.
    start = text.rstrip().rfind("\n") + 1
    bold = [match for match in _BOLD.finditer(text, start)
            if re.search(r"\d", match.group(1)) and not match.group(1).rstrip().endswith((":", "."))]  # fmt: skip
    if bold:
        return Candidate(bold[-1].group(1), "bold", bold[-1].start(), bold[-1].end())
    # A sentence about the result counts as the conclusion where it closes the text.
    stated = [*sentences(text[start:], weak=True)]
    return stated[-1]._replace(start=stated[-1].start + start, end=stated[-1].end + start) if stated else None


def _corrects(later: Candidate) -> bool:
    payload = later.payload[:_MAX_BARE]
    return later.how in NO_PAYLOAD or plain.read(canonical(payload)) is not None or bool(letter(payload))


def _settled(text: str, found: Candidate) -> Extraction:
    """The commitment itself, unless what stands next to it takes it back or disagrees."""
    if found.how in NO_PAYLOAD or not found.payload:
        return Extraction("", found.how)
    if _TAKEN_BACK.match(text, found.end):
        return Extraction("", "retracted")
    if _ALTERNATIVE.search(text[max(0, found.start - 40) : found.start]):
        return Extraction("", "several_answers")
    if found.how == "boxed":
        return Extraction(*with_neighbours(text, found))
    number = _only_number(found.payload) if found.how == "phrase" else ""
    return Extraction(number, "phrase_number") if number else Extraction(found.payload, found.how)


def _only_number(payload: str) -> str:
    """The number of a sentence that holds just one (`she has 5 apples left`); empty for anything else."""
    if len(payload) > _MAX_BARE or len(_PROSE_WORD.findall(payload)) < 4 or _CONDITION.search(payload):
        return ""
    numbers = [match.group() for match in _NUMBER.finditer(payload)]
    return numbers[0] if len(numbers) == 1 else ""


def _last_resort(text: str) -> Extraction:
    tail = text.rstrip()[-300:]
    last_sentence = re.split(r"(?<=[.!])\s+(?=[A-Z])|\n|, (?:so|hence|thus|therefore) ", tail)[-1]
    if (said := stated(last_sentence)) and _MATH_OR_NONE.search(said):
        # `currently 16 years old`: words in front of its only number are prose.
        numbers = [match.group() for match in _NUMBER.finditer(said)] if re.match(r"[a-z]{3,} ", said) else []
        return Extraction(numbers[0] if len(numbers) == 1 else _only_number(said) or said, "sentence")
    if _HEDGE.search(last_sentence):
        return Extraction("", "no_final_answer")
    formulas = _FORMULA.findall(last_sentence)
    if formulas and re.search(r"[a-zA-Z\\^<>]", formulas[-1]):
        return Extraction(formulas[-1].strip("$ "), "last_formula")
    if "```" in text:
        text = _FENCED.sub(" ", text)
    for reach in (_NEAR, _FAR):
        start = max(0, len(text) - reach)
        start = text.find(" ", start) if start else 0
        if start >= 0 and (numbers := [match.group() for match in _NUMBER.finditer(text, start)]):
            return Extraction(numbers[-1], "last_number")
    return Extraction("", "no_final_answer")


def _choice(text: str) -> Extraction:
    """The option letter that a text commits to."""
    found = _latest(text)
    if found is not None and found.how != "bold":
        if found.how in NO_PAYLOAD:
            return Extraction("", found.how)
        letters = options(found.payload)
    else:
        letters, found = options(text.rstrip().rpartition("\n")[2]), None
    if len(set(letters)) == 1:
        return Extraction(letters[0], found.how if found else "letter")
    return Extraction("", "several_answers" if letters else "no_final_answer")
