"""Answers in words: the same words, the same words in another order, or with words that say nothing; canonical text."""

from __future__ import annotations

import re

from verifiers.answers import plain
from verifiers.answers.canonical import FUNCTIONS
from verifiers.answers.decision import Decision, different, verdict

_SHORT_WORDS = frozenset({"yes", "no", "odd", "none", "all", "both", "red"})
_NOTHING_WORDS = """emptyset nosolution nosolutions norealsolution norealsolutions nointegersolutions none doesnotexist
    dne undefined nosuchvalue nosuchnumber therearenosolutions nosolutionsexist nosolutionexists theemptyset nullset
    thereisnosolution norealroots norealvalues nosuchintegers nosuchnumbers"""
_NOTHING = frozenset(_NOTHING_WORDS.split())
_ALL_REALS = frozenset({"allrealnumbers", "allreals", "anyrealnumber", "everyrealnumber", "therealnumbers",
                        "realnumbers", "allrealvalues", "setofallrealnumbers", "setofrealnumbers"})  # fmt: skip
_TRUTH = {"yes": "true", "true": "true", "t": "true", "no": "false", "false": "false", "f": "false"}
_NEUTRAL_WORDS = """a an the is are was were be being it its this that these those there of for to has have we our you
    so thus hence therefore must will all any every each such n x f answer result statement claim
    series integral sequence function equation inequality system vectors vector matrix set graph
    triangle quadrilateral polygon figure shape solution solutions integers integer numbers number
    values value player strategy winning wins winner always point points line lines curve case cases
    positive real exactly just only"""
_NEUTRAL = frozenset(_NEUTRAL_WORDS.split())
_TURNS = frozenset({"not", "no", "never", "neither", "nor", "or", "and", "but", "without", "unless", "except", "than"})
_MAX_WORDS = 14


def is_words(text: str, *, marked: bool = False) -> bool:
    """Whether canonical text is words rather than a product of letters; `marked` says that it was typeset as text."""
    if re.fullmatch(r"[^\W\d_][^\W\d_' .,-]*(?:[ '.,-]+[^\W\d_]+)*", text) is None or text in FUNCTIONS:
        return False
    longest = max(len(word) for word in re.findall(r"[^\W\d_]+", text))
    return marked or longest >= 4 or text.lower() in _SHORT_WORDS


def spoken(text: str) -> str:
    """Words without case, article, braces, punctuation and spaces."""
    folded = re.sub(r"[\s{}\"“”'’.,!;-]+", " ", text).strip().casefold()
    return re.sub(r"^(?:the|an?) ", "", folded).replace(" ", "")


def compare(gold: str, prediction: str, *, marked: bool) -> Decision | None:
    """Words against words, and against whatever is none; None where neither side is words."""
    ours, theirs = spoken(gold.replace("\\", "")), spoken(prediction.replace("\\", ""))
    for synonyms in (_NOTHING, _ALL_REALS):
        if ours in synonyms or theirs in synonyms:
            if ours in synonyms and theirs in synonyms:
                return verdict(True, "text")
            return None if _has_math(gold) or _has_math(prediction) else different("text")
    if ours == theirs and re.fullmatch(r"[^\\^_]*[a-zA-Z]{4}[^\\^_]*", gold):
        return verdict(True, "text")
    gold_words, other_words = is_words(gold, marked=marked), is_words(prediction)
    if gold_words and _TRUTH.get(ours) and _TRUTH.get(theirs):
        return verdict(_TRUTH[ours] == _TRUTH[theirs], "text")
    if gold_words and (other_words or marked or not re.search(r"[\d\\]", prediction)):
        return verdict(ours == theirs or _listed(gold) == _listed(prediction) or _says(gold, prediction), "text")
    if (gold_words and plain.read(prediction)) or (other_words and plain.read(gold)):
        return different("text")
    return None


def _listed(text: str) -> list[str]:
    """Words joined by commas or `and`, in order of the alphabet: a list of names has no order of its own."""
    return sorted(map(spoken, re.split(r",|\band\b|&", text)))


def _says(gold: str, prediction: str) -> bool:
    """Whether two phrases hold the same words but for inflection, order, and words that say nothing."""
    ours, theirs = (re.findall(r"[^\W\d_]+", side.casefold()) for side in (gold, prediction))
    if max(len(ours), len(theirs)) > _MAX_WORDS or _TURNS.intersection(ours) != _TURNS.intersection(theirs):
        return False
    stems = [{word[:6] for word in side if word not in _NEUTRAL} for side in (ours, theirs)]
    return bool(stems[0]) and stems[0] == stems[1] and max(len(stem) for stem in stems[0]) >= 3


def _has_math(text: str) -> bool:
    return re.search(r"[\\=<>(\[|]", text) is not None


def means_nothing(text: str) -> bool:
    """Whether words say that there is no solution."""
    return spoken(text.replace("\\", "")) in _NOTHING


def means_all_reals(text: str) -> bool:
    """Whether words say that every real number is a solution."""
    return spoken(text.replace("\\", "")) in _ALL_REALS
