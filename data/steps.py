r"""Cut a rationale into steps, reversibly: `join_steps(split_steps(text)) == text` for every string.

No step is whitespace only unless the whole text is. White space between two steps belongs to the end of the earlier
one; white space before the first step belongs to the first. Time is linear in the length of the text.

The rule, in order:

1. *Never cut inside* a code fence (an unclosed one runs to the end), `\begin{x}..\end{x}`, `\[..\]`, `$$..$$` or
   `[asy]..[/asy]`. An opening that is never closed protects nothing: it is ordinary text.
2. *Every other non-blank line starts a step*, whether or not a blank line comes before it, except that
   - prose and a display formula or fence on the next line are one step while the sentence runs on: the prose does not
     end in `.`, `!` or `?`; or the line after the formula goes on in lower case;
   - a heading (`## Sum`, `**Sum**`, a bare `Step 2:` or `Answer:`) belongs to what follows it, over blank lines too, so
     that `# Answer`, a blank line and `42` are one step;
   - in a text with two or more numbered items (`1.`, `2)`, `Step 3:`), a line without a number belongs to its item, up
     to a blank line that is followed by text without indentation.
   A final-answer line (`#### 42`, `The answer is 42`) always starts a step.
3. *A text that is one step by rule 2*, its final-answer line aside, *is cut at sentence ends*: `.`, `!`, `?` before
   white space (or at the end of a display formula) and what can open a sentence, but not after `Mr.`, `e.g.`, `U.S.`,
   `Eq.` (before a number) or the number of an item, and not within `$..$` or `\(..\)`. `3.14` holds no white space.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from data.errors import UserError

Region = tuple[int, int]

_TOKEN = re.compile(
    r"(?P<fence>`{3,}+)|\\begin\{(?P<begin>[^{}\n]{1,40})\}|\\end\{(?P<end>[^{}\n]{1,40})\}"
    # Any other escaped character is one token, so that neither `\\[2mm]` nor `\$$` opens a display.
    r"|\\(?P<bracket>[\[\]])|\\.|(?P<dollars>\$\$)|(?P<asy>\[/?asy\])",
    re.DOTALL,
)
_LINE = re.compile(r"^[^\S\n]*+(?=\S)", re.MULTILINE)
_MARKS = r"(?:[#*_>]|[^\S\n]){0,12}"
_ITEM = re.compile(rf"{_MARKS}(?:\(?\d{{1,3}}[.)][*_]{{0,2}}[^\S\n]|step[^\S\n]{{1,3}}\d{{1,3}}\b)", re.IGNORECASE)
_ANSWER = re.compile(
    rf"####[^\S\n]{{0,4}}(?!step\b)|{_MARKS}(?:the[^\S\n]{{1,3}})?(?:final[^\S\n]{{1,3}})?answer\b", re.IGNORECASE
)
_HEADING = re.compile(
    r"(?:#{1,3}[^\S\n]|#{4}[^\S\n]{1,4}[^\W\d]{2}|#{5,6}[^\S\n])[^\n]*+"
    r"|\*\*[^*\n]{1,200}\*\*:?[^\S\n]{0,20}(?=\n)"
    r"|(?:step[^\S\n]{1,3}\d{1,3}|(?:the[^\S\n]{1,3})?(?:final[^\S\n]{1,3})?answer)[:.]?[^\S\n]{0,20}(?=\n)",
    re.IGNORECASE,
)
_SPECIAL_FIRST = frozenset("#*_>(0123456789sStTfFaA")
"""First characters of items, headings and answers; every other line skips three patterns."""

_INLINE_MATH = re.compile(r"(?<![\\$])\$(?=[^\s$])[^$\n]*+(?<=\S)\$(?![\d$])|\\\((?:(?!\\[()])[^\n])*+\\\)")
_CLOSERS = r"""["'”’)\]}*_$\\]{0,12}"""
_SENTENCE = re.compile(
    # A display may hold the full stop, and what follows it needs no white space: `x = 1.\\]Then`.
    r"[.!?]\s{0,4}(?:\\\]|\$\$|\\end\{[^{}\n]{1,40}\})\s*+(?=[A-Z])"
    rf"|(?<![.!?])(?P<mark>[.!?]++){_CLOSERS}\s++(?=(?P<next>\S))|[。！？]\s*+(?=\S)"
)
_WORD = re.compile(r"[^\s(\[{\"'“]{1,16}\Z")
_NEVER_ENDS = frozenset(["mr", "mrs", "ms", "dr", "prof", "st", "mt", "jr", "sr", "vs", "cf", "viz", "approx", "resp"])
_NOT_BEFORE_NUMBER = frozenset(
    ["no", "nos", "eq", "eqs", "eqn", "fig", "figs", "sec", "ch", "vol", "pp", "thm", "prop", "cor", "lem", "ex"]
)
_OPENERS = frozenset("\"'“‘([{$\\*_<#|-–−√")
"""What can open a sentence, beside a letter or a digit."""
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]\Z")


@dataclass(slots=True)
class _Line:
    """A non-blank line; what lies within one protected region is one line."""

    start: int
    body: int
    """Position of the first character that is not white space."""
    blank_before: bool = False


def split_steps(text: str) -> tuple[str, ...]:
    """Cut a text into steps; see the module's docstring for the rule."""
    if not text:
        return ()
    regions = _protected_regions(text)
    lines = list(_logical_lines(text, regions))
    cuts = _line_cuts(text, lines, regions)
    last = lines[-1] if lines else None
    if last and (not cuts or (cuts == [last.body] and _ANSWER.match(text, last.body))):
        cuts = [*_sentence_cuts(text, cuts[0] if cuts else len(text), regions), *cuts]
    edges = [0, *cuts, len(text)]
    return tuple(text[start:end] for start, end in pairwise(edges))


def join_steps(steps: Iterable[str]) -> str:
    """The text that `split_steps` cut."""
    return "".join(steps)


def refuse_text(steps: Iterable[str]) -> None:
    """Raise a UserError if steps are one text: it would be taken for as many steps as it has characters."""
    if isinstance(steps, str):
        raise UserError("the steps are one text.", "Give a list of steps, e.g. data.steps.split_steps(text).")


def _protected_regions(text: str) -> list[Region]:
    """Spans that are never cut: disjoint, in order."""
    found: list[Region] = []
    openings: dict[str, list[int]] = {}
    fence: Region | None = None
    for token in _TOKEN.finditer(text):
        start, end = token.span()
        if token["fence"]:
            if fence is None:
                fence = (start, end)
            elif end - start >= fence[1] - fence[0]:
                found.append((fence[0], end))
                fence = None
        elif fence is None:
            _pair(token, openings, found)
    if fence is not None:
        found.append((fence[0], len(text)))
    return _merged(found)


def _pair(token: re.Match[str], openings: dict[str, list[int]], found: list[Region]) -> None:
    """Note an opening, or close the latest one of the same name."""
    opened = "[" if token["bracket"] == "[" else token["begin"]
    closed = "[" if token["bracket"] == "]" else token["end"]
    if token["asy"]:
        opened, closed = ("[asy]", "") if token["asy"] == "[asy]" else ("", "[asy]")
    elif token["dollars"]:
        opened, closed = ("", "$$") if openings.get("$$") else ("$$", "")
    if opened:
        openings.setdefault(opened, []).append(token.start())
    elif closed and openings.get(closed):
        found.append((openings[closed].pop(), token.end()))


def _merged(regions: list[Region]) -> list[Region]:
    merged: list[Region] = []
    for start, end in sorted(regions):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _logical_lines(text: str, regions: list[Region]) -> Iterator[_Line]:
    """Non-blank lines, without those that start inside a region."""
    region = 0
    line_end = -1
    for match in _LINE.finditer(text):
        start, body = match.span()
        while region < len(regions) and regions[region][1] <= start:
            region += 1
        blank_before = 0 <= line_end < start - 1
        line_end = text.find("\n", body)
        if region == len(regions) or start <= regions[region][0]:
            yield _Line(start, body, blank_before)


def _line_cuts(text: str, lines: list[_Line], regions: list[Region]) -> list[int]:
    """Where the lines begin that start a step (rule 2); their indentation stays with the step before."""
    special = [text[line.body] in _SPECIAL_FIRST for line in lines]
    items = [maybe and _ITEM.match(text, line.body) is not None for line, maybe in zip(lines, special, strict=True)]
    is_list = sum(items) >= 2
    region_starts = {start for start, _ in regions}
    region_ends = {end for _, end in regions}
    cuts: list[int] = []
    in_item = is_list and bool(items) and items[0]
    for index in range(1, len(lines)):
        line, before = lines[index], lines[index - 1]
        answer = special[index] and _ANSWER.match(text, line.body) is not None
        if text[line.body] == "#" or (line.blank_before and line.body - line.start < 2):
            in_item = False
        if special[index - 1] and _HEADING.match(text, before.body):
            in_item = in_item or (is_list and (items[index - 1] or items[index]))
            continue
        starts_item = is_list and items[index]
        if not (starts_item or answer) and (
            in_item or (not line.blank_before and _sentence_runs_on(text, line, region_starts, region_ends))
        ):
            continue
        in_item = starts_item
        cuts.append(line.body)
    return cuts


def _sentence_runs_on(text: str, line: _Line, region_starts: set[int], region_ends: set[int]) -> bool:
    """Whether a line and the one before it are one sentence around a display formula or fence."""
    end = line.start
    while text[end - 1].isspace():
        end -= 1
    after_region = end in region_ends
    if line.body in region_starts:
        return not after_region and text[end - 1] not in ".!?"
    return after_region and text[line.body].islower()


def _sentence_cuts(text: str, stop: int, regions: list[Region]) -> Iterator[int]:
    """Starts of sentences before `stop`, the first left out (rule 3)."""
    spared = _merged([*regions, *(match.span() for match in _INLINE_MATH.finditer(text, 0, stop))])
    starts = [start for start, _ in spared]
    for match in _SENTENCE.finditer(text, 0, stop):
        cut = match.end()
        place = bisect_right(starts, cut - 1) - 1
        inside = place >= 0 and spared[place][0] < cut < spared[place][1]
        if not inside and _ends_sentence(text, match):
            yield cut


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Whether a mark before white space ends a sentence."""
    mark, following = match["mark"], match["next"]
    if mark is None:
        return True
    if not (following.isalnum() or following in _OPENERS):
        return False
    at = match.start()
    word_match = _WORD.search(text, max(0, at - 16), at)
    word = word_match[0] if word_match else ""
    if mark != ".":
        # `5! = 120`, `3! 4!`, `wait... what`
        return following.isupper() or (mark[-1] == "?" and not following.islower())
    if _DOTTED.search(word):
        return word.lower() in ("a.m", "p.m") and following.isupper()
    if word.lower() in _NEVER_ENDS or (word.lower() in _NOT_BEFORE_NUMBER and following in "(0123456789"):
        return False
    if word.isdigit() and text[max(0, at - 16) : at - len(word)].rstrip()[-1:] in ("", ".", "!", "?"):
        return False  # The number of an item: `... is 4. 2. Then add`.
    return not following.islower() or not word[-1:].isalpha()
