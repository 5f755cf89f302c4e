"""What makes a false equality no mistake: the text denies or supposes it, or means something else by it."""

from __future__ import annotations

import re

from verifiers.steps.equalities import Equality
from verifiers.steps.tokens import Kind

_DENIED = re.compile(
    r"\b(?:contradict\w*|impossible|no solutions?|false|absurd|extraneous|wrong|incorrect|mistake|wait[,.]|guess|trial|"
    r"too (?:big|small|large|low|high)|round(?:ed|ing| up| down| to)|approximat\w+|estimat\w+)\b",
    re.IGNORECASE,
)
_DENIED_NEAR = re.compile(
    r"\bnot (?:true|possible|equal|work|help|valid)|"
    r"(?:\b(?:does|do|would|is|are|cannot)(?: not\b|n['’]t\b)|\bcannot\b)|"
    r"\b(?:about|roughly|nearly|almost|around)\b",
    re.IGNORECASE,
)
_NEAREST = 30
"""How far from an equality a word that denies it stands, in characters."""
_OTHER_MEANING = re.compile(
    r"\b(?:digits?|parity|modulo|mod|pmod|remainders?|congruen\w+|residues?|binary|base|odd|clock|o['’]clock|a\.?m\.?|"
    r"p\.?m\.?|similar|scale|map|inverse)\b",
    re.IGNORECASE,
)
_OTHER_NUMBERS = re.compile(r"\bbase[- ]?\$?\d|\bmod(?:ulo)?\b|\bpmod|\bunits digit|\b12-hour", re.IGNORECASE)
_DEFINES_SIGN = re.compile(r"[A-Za-z\d]\s*\$?\s*(?:\*|\\ast|\\star|\\oplus|\\diamond|#|@)\s*\$?\s*[A-Za-z]")
_DIMENSIONS = re.compile(r"\d\s?[xX×]\s?\d+\s?[xX×]\s?\d")
_HYPHENS = re.compile(r"\d+(?:-\d+){2,9}\s*=\s*\d+(?:-\d+){2,9}")
_SENTENCE_END = re.compile(r"[.!?]\s|\n\n")


def in_doubt(equality: Equality, step: str, problem: str) -> bool:
    """Whether a false equality may be meant otherwise than as a claim."""
    span, start = equality.span, equality.start
    if start < 0:
        # A calculator mark is computed, whatever its sentence says.
        return False
    if _HYPHENS.match(span) or (_DIMENSIONS.search(span) and equality.left[-1].kind is Kind.UNIT):
        return True
    if _OTHER_NUMBERS.search(problem) or ("*" in span and _DEFINES_SIGN.search(problem)):
        return True
    around = sentence_of(step, equality)
    beside = equality.lead[-_NEAREST:] + " = " + equality.tail[:_NEAREST]
    return any(doubt.search(around) for doubt in (_DENIED, _OTHER_MEANING)) or bool(_DENIED_NEAR.search(beside))


def sentence_of(step: str, equality: Equality) -> str:
    """The sentence around an equality, and the one after it; the step for a calculator mark."""
    if equality.start < 0:
        return step
    return lead_of(equality) + " " + ". ".join(_SENTENCE_END.split(equality.tail)[:2])


def lead_of(equality: Equality) -> str:
    """The part of its sentence before an equality."""
    return _SENTENCE_END.split(equality.lead)[-1]
