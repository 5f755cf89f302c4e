r"""Which steps of a worked solution are right, as far as what they compute tells; precision comes before recall.

`check_steps` reads the equalities of each step - calculator marks (`<<3*4=12>>`), plain text and LaTeX, chains too -
and judges them by four rules: `arithmetic` (both sides are numbers, exactly, with units and percent signs in every
reading that they may have), `carried` (letters with values from earlier steps), `rewrite` (an equation of one unknown
must follow from the one before it) and `identity` (links of a chain of polynomials).

`correct` and `incorrect` speak of those equalities alone; whether they were the right ones to state, a step does not
say. Whatever cannot be read with certainty, or is supposed or denied by its sentence, is `not_checkable`.

Rounding: a result that the digits shown cannot hold may be off by less than one unit of its last digit, as in
`100/3 = 33.3`; one that they can hold must be exact (`7/2 = 3.4` is wrong).

Everything is pure Python over `fractions`, without eval, in time linear in the text up to fixed caps: a model's text
may be checked in this process. Longer steps than `equalities.MAX_CHARS` are not read.
"""

from __future__ import annotations

from verifiers.steps.checking import check_steps
from verifiers.steps.records import Rule, StepStatus, StepVerdict

__all__ = ["Rule", "StepStatus", "StepVerdict", "check_steps"]
