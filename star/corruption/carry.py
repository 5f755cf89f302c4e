"""Make a slip in a solution: in its step alone, or with every later step computed anew from the wrong number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from star.corruption.slips import Slip
from star.corruption.solution import (
    Edit,
    Site,
    Solution,
    Unfit,
    edited,
    is_natural,
    replacements,
    result_pieces,
    rewritten,
    write_number,
)
from star.equations import Token, evaluate, numbers_of, without_marks

Pieces = dict[int, tuple[int, str]]


def isolated(solution: Solution, slip: Slip) -> tuple[str, ...]:
    """The steps with the slip, its result left as it was (or only its result changed) and all else untouched.

    Raises:
        Unfit: `hidden` (the slip shows in a calculator mark alone, which training may strip).
    """
    site = solution.sites[slip.site]
    pieces: Pieces = {}
    for copy in site.copies:
        pieces |= replacements(copy.left, slip.edits.get(slip.site, {}))
        if slip.result is not None:
            pieces |= result_pieces(copy, slip.result)
    renamed = {site.result.value: slip.result} if slip.result is not None else _names(slip)
    step = solution.steps[site.step]
    for token in _loose(step, [other for other in solution.sites if other.step == site.step]):
        if token.value in renamed:
            pieces[token.start] = (token.end, write_number(renamed[token.value], token))
    text = rewritten(step, pieces)
    if without_marks(text).split() == without_marks(step).split():
        raise Unfit("hidden")
    return (*solution.steps[: site.step], text, *solution.steps[site.step + 1 :])


def propagated(solution: Solution, slip: Slip, balance: int | None = None) -> tuple[str, ...]:
    """The steps with the slip and everything after it consistent with it.

    Args:
        solution: a right solution.
        slip: what goes wrong.
        balance: a later site where a second slip brings back what the right solution has there.

    Raises:
        Unfit: `ambiguous` (a changed number may stand for another quantity too), `inexact` (a rounded result would
            change), `entangled` (two unlike calculations share a result), `unnatural` (a result that no one would
            write), `unexplained` (a number that no equation explains stands beside a changed one), `restated` (the
            slip gives a calculation of another step), `unbalanced` (the second slip would have nothing to cancel).
    """
    if slip.drops_step:
        site = solution.sites[slip.site]
        carry = _Carry(solution, slip, balance, moved={site.result.value: site.left[0].value})
        later = [carry.step(place) for place in range(site.step + 1, len(solution.steps))]
        return (*solution.steps[: site.step], *later)
    _check_not_restated(solution, slip)
    first = solution.sites[slip.site].step
    carry = _Carry(solution, slip, balance)
    steps = [carry.step(place) for place in range(first, len(solution.steps))]
    if balance is not None and not carry.balanced:
        raise Unfit("unbalanced")
    return (*solution.steps[:first], *steps)


@dataclass
class _Carry:
    """Goes through the steps in order and knows which numbers have become which."""

    solution: Solution
    slip: Slip
    balance: int | None
    moved: dict[Fraction, Fraction] = field(default_factory=dict)
    """Numbers of the right solution to what they are now."""
    answer: dict[Fraction, Fraction] = field(default_factory=dict)
    """The same for a result that only the answer after its step can stand for."""
    balanced: bool = False

    def step(self, place: int) -> str:
        """The step as it reads now."""
        text, pieces = self.solution.steps[place], Pieces()
        answer = dict(self.answer)
        sites = [(index, site) for index, site in enumerate(self.solution.sites) if site.step == place]
        for index, site in sites:
            pieces |= self._recompute(index, site)
        is_first = place == self.solution.sites[self.slip.site].step
        names = self.moved | answer | (_names(self.slip) if is_first else {})
        loose = _loose(text, [site for _, site in sites])
        # The words of a chain are its last line alone.
        if not (self.solution.is_chain and sites):
            pieces |= {t.start: (t.end, write_number(names[t.value], t)) for t in loose if t.value in names}
        if pieces and not is_first and {token.value for token in loose} - set(names) - self.solution.known:
            raise Unfit("unexplained")
        return rewritten(text, pieces)

    def _recompute(self, index: int, site: Site) -> Pieces:
        edit = dict(self._moved_operands(site)) | dict(self.slip.edits.get(index, {}))
        forced = self.slip.result if index == self.slip.site else None
        if not edit and forced is None:
            return {}
        if not site.exact:
            raise Unfit("inexact")
        if site.is_entangled or (site.is_reversed and not {"-", "/"}.isdisjoint(edit.values())):
            raise Unfit("entangled")
        if index == self.balance:
            self.balanced = True
            edit |= _compensation(site, edit)
            forced = site.result.value
        computed = evaluate(edited(site.left, edit))
        value = forced if forced is not None else computed and computed * site.copies[0].scale
        if value is None or not is_natural(value, site.result):
            raise Unfit("unnatural")
        self._move(index, site.result.value, value)
        pieces: Pieces = {}
        for copy in site.copies:
            pieces |= replacements(copy.left, edit)
            pieces |= result_pieces(copy, value)
        return pieces

    def _moved_operands(self, site: Site) -> Edit:
        places = range(1 if self.solution.is_chain else len(site.left))
        numbers = [place for place in places if site.left[place].kind == "number"]
        return {place: self.moved[site.left[place].value] for place in numbers if site.left[place].value in self.moved}

    def _goes_to_answer(self, index: int) -> bool:
        """Whether a site has an ambiguous result that nothing but the answer after it can use."""
        solution, site = self.solution, self.solution.sites[index]
        later = [token for step in solution.steps[site.step + 1 :] for token in numbers_of(step)]
        is_last = site is solution.sites[-1] and [token.value for token in later] == [site.result.value]
        return is_last and site.result.value in solution.ambiguous

    def _move(self, index: int, old: Fraction, new: Fraction) -> None:
        if self.solution.is_chain:
            self.moved = {} if old == new else {old: new}
        elif old == new:
            return
        elif self._goes_to_answer(index):
            self.answer = {old: new}
        elif old in self.solution.ambiguous or self.moved.get(old, new) != new:
            raise Unfit("ambiguous")
        else:
            self.moved[old] = new


def _compensation(site: Site, edit: Edit) -> Edit:
    """Another operand that brings the right result back; nothing if there is none, and the result is just stated."""
    for place, token in enumerate(site.left):
        if token.kind != "number" or place in edit:
            continue
        value = _solved(site, edit, place)
        if value is not None and value != token.value and is_natural(value, token):
            return {place: value}
    return {}


def _solved(site: Site, edit: Edit, place: int) -> Fraction | None:
    """The operand at a place that gives the right result, where the result depends on it linearly."""
    at = [evaluate(edited(site.left, {**edit, place: Fraction(number)})) for number in (1, 2, 3)]
    if at[0] is None or at[1] is None or at[2] is None:
        return None
    slope = at[1] - at[0]
    if not slope or at[2] - at[1] != slope:
        return None
    return (site.result.value / site.copies[0].scale - at[0]) / slope + 1


def _check_not_restated(solution: Solution, slip: Slip) -> None:
    """Refuse a slip that gives what another step computes: it would only be out of order."""
    texts = {_shape(site.left) for site in solution.sites}
    for place, edit in slip.edits.items():
        if _shape(edited(solution.sites[place].left, edit)) in texts:
            raise Unfit("restated")


def _shape(left: Sequence[Token]) -> tuple[str | Fraction, ...]:
    found = tuple(token.value if token.kind == "number" else token.text for token in left)
    return min(found, found[::-1], key=str) if len(found) == 3 and found[1] in ("+", "*") else found


def _names(slip: Slip) -> dict[Fraction, Fraction]:
    return dict([slip.renamed]) if slip.renamed else {}


def _loose(step: str, sites: Sequence[Site]) -> list[Token]:
    """Numbers of a step outside its equations."""
    copies = [copy for site in sites for copy in site.copies]
    taken = {token.start for copy in copies for token in (*copy.left, copy.result, copy.echo or copy.result)}
    return [token for token in numbers_of(step) if token.start not in taken]
