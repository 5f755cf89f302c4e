"""Sentences and lines that announce a final answer, and the option letters in them; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Candidate(NamedTuple):
    """A place in a text that commits to an answer, or that announces one and has none."""

    payload: str
    how: str
    start: int
    end: int


NO_PAYLOAD = frozenset({"empty_box", "unclosed_box", "empty_hash", "retracted", "several_answers"})
"""The `how` of candidates that stand for no answer."""

_HASH = re.compile(r"^[ \t]*####[ \t]*(.*)$", re.MULTILINE)
_HEADING = re.compile(r"(?:\*\*)?(?:step|part|case|solution|final|answer|the |explanation|verification|conclusion"
                      r"|\d+[.)] )", re.IGNORECASE)  # fmt: skip
_PHRASE = re.compile(
    r"(?:\\textbf\{\s*(?:final )?answer\s*[.:]?\s*\}\s*|^#+ *(?:final )?(?:answer|result)\s*:?\s*\n\s*(?=\S)"
    r"|\b(?:final |correct |right |best )?(?:answer|choice|option)(?: to [^.:\n]{1,60}?| here)?"
    r"(?:\*\*)?\s*(?:\b(?:is|are|was|would be|must be|should be|equals)\b"
    r"|(?=(?:is|are|was|ca|would)n['’]t\b|cannot\b)|[:=]|-(?= ?\(?[A-J]\b)"
    r"|(?=\(?(?-i:[A-HJ])\b(?!\)? (?:is|was) (?:not|wrong|incorrect|impossible))))"
    r"|答案(?:是|为|:|：))(?:\*\*)?\s*[:=]?[ \t]*(?:\n\s*(?=\S))?",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"<answer>(.{0,400}?)</answer>", re.DOTALL | re.IGNORECASE)
_STATED = re.compile(
    r"\b(?:solutions?(?: set)?|roots?|zeros|result|values?(?: of \$?\w\$?)?)\s+(?:is|are)\s*:?\s*", re.IGNORECASE
)
"""Weaker than an answer: what such a sentence names counts where nothing firmer does."""
_ANNOUNCING = ("answer", "choice", "option", "result", "答案")
_STATING = ("solution", "root", "zero", "result", "value")
"""Words without which no sentence of the kind is there; a look for them is much cheaper than the patterns."""
_MATH = re.compile(r"\d|\\|\$|[=<>^]")
_FILLER = re.compile(
    r"(?:equal to|simply|just|exactly|approximately|about|around|a total of|therefore|thus|indeed|clearly|option|choice"
    r"|given by|then|:)\s*", re.IGNORECASE)  # fmt: skip
_DENIAL = re.compile(r"(?:not|(?:is|are|was|ca|would)n['’]t|cannot|neither|unknown|unclear|uncertain|wrong|incorrect"
                     r"|impossible to (?:say|tell))\b", re.IGNORECASE)  # fmt: skip
_SENTENCE_END = re.compile(r"(?<![A-Z])[.!?](?=\s|\*|$)|;\s|\s(?:because|since|so that|which|where|as we)\s"
                           r"|,\s(?=[a-z]{2})(?!(?:and|or)\b)")  # fmt: skip
_OPTION = re.compile(
    r"\(([A-Ja-j])\)|(?<![\w'\\])([B-HJ])(?![\w'])|(?<![\w'\\])([AI])(?=\s*(?:[).:,]|$|or\b|and\b|is\b|\*))"
)
_MAX_PAYLOAD = 160


def hash_lines(text: str) -> Iterator[Candidate]:
    """`#### 72`; headings in the same form (`#### Step 1`) are passed over."""
    if "####" not in text:
        return
    end = len(text.rstrip())
    for match in _HASH.finditer(text):
        payload = match.group(1).strip().strip("*").strip()
        if not payload:
            # A heading mark with text below it announces nothing; at the very end it is an answer left out.
            if match.end() >= end:
                yield Candidate("", "empty_hash", match.start(), match.end())
        elif not _HEADING.match(payload) and not payload.endswith(":") and len(payload) <= _MAX_PAYLOAD:
            yield Candidate(payload.rstrip("."), "hash", match.start(), match.end())


def tags(text: str) -> Iterator[Candidate]:
    """`<answer>72</answer>`; an empty one announces an answer and has none."""
    for match in _TAG.finditer(text):
        payload = match.group(1).strip()
        yield Candidate(payload, "tag" if payload else "empty_box", match.start(), match.end())


def sentences(text: str, *, weak: bool = False) -> Iterator[Candidate]:
    """The answer is 72, Answer: 72, **Final answer:** 72; a denial (is not 4) is a candidate without an answer."""
    lower = text.lower()
    if not any(word in lower for word in (_STATING if weak else _ANNOUNCING)):
        return
    for match in (_STATED if weak else _PHRASE).finditer(text):
        line = text[match.end() : match.end() + _MAX_PAYLOAD].split("\n", 1)[0]
        if _DENIAL.match(line):
            yield Candidate("", "retracted", match.start(), match.end())
            continue
        payload, length = _payload(line)
        if payload and _is_answer(payload) and not (weak and not _MATH.search(payload)):
            yield Candidate(payload, "phrase", match.start(), match.end() + length)


def options(text: str) -> list[str]:
    """The option letters that a phrase names, upper case; one if it begins with a letter that nothing competes with."""
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r"\1", text.strip().strip("*$").strip())
    text = re.sub(r"^(?:option|choice) (?=\(?[A-Ja-j]\)?\.?$)", "", text, flags=re.IGNORECASE)
    if re.fullmatch(r"\(?[A-Ja-j]\)?\.?", text):
        return [re.sub(r"[^A-Za-z]", "", text).upper()]
    lead = _OPTION.match(text)
    if lead:
        rival = re.match(r"\s*(?:,|/|or|and)\s*(?:\(([A-J])\)|([A-J])\b(?! [a-z]))", text[lead.end() :].lstrip(").*"))
        found = [lead, rival] if rival else [lead]
    else:
        found = list(_OPTION.finditer(text))
    return [next(group for group in match.groups() if group).upper() for match in found]


def option_content(text: str) -> str:
    """What follows the letter of an option written out (`(B) 12`, `B. Paris`); empty if it is only a letter."""
    match = re.fullmatch(r"\s*(?:\([A-J]\)|[A-J][.):])\s*(.+)", text, re.DOTALL)
    return match.group(1).strip() if match else ""


def _payload(line: str) -> tuple[str, int]:
    """The answer at the start of a line, without filler, prose behind it and emphasis, and how far it reaches."""
    start = len(line) - len(line.lstrip(" *:"))
    while match := _FILLER.match(line, start):
        start = match.end()
    rest = line[start:]
    math = re.match(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", rest)
    if math and not re.search(r"[a-z]{2,} [a-z]{2,}", next(part for part in math.groups() if part)):
        # Prose after the formula explains it; a unit or a second answer belongs to it.
        more = re.match(
            r"\s*,?\s*(?:or|and)\s+(?:maybe |perhaps |possibly |even )*\S+|\s*(?:[a-zA-Z%]+)?(?=\s*(?:[.!]|$))",
            rest[math.end() :],
        )
        end = math.end() + (len(more.group()) if more else 0)
    else:
        stop = _SENTENCE_END.search(rest)
        end = stop.start() if stop else len(rest)
    emphasis = re.search(r"\*\*([^*]+)\*\*", rest[:end])
    payload = (emphasis.group(1) if emphasis else rest[:end]).strip().strip("*\"'“”").strip()
    return payload.rstrip(".").strip(), start + end


def _is_answer(payload: str) -> bool:
    """Whether this can be an answer rather than prose: it has a digit or mathematics, or is three words at most."""
    if len(payload) > _MAX_PAYLOAD - 10:
        return False
    if _MATH.search(payload) or re.match(r"\(?[A-Ja-j]\)?(?:[).:]|\s*$)", payload):
        return True
    words = payload.split()
    return len(words) <= 3 or bool(re.search(r"\([A-J]\)", payload))
