"""Reading: notations of one thing give one tree, what is not understood gives none, and no text raises."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.answers.canonical import canonical
from verifiers.answers.equivalence import decide, read
from verifiers.answers.tree import Builder, Call, Group, Listing, Matrix, Number, Relation

SAME_TREE = [
    ("2*pi*r", r"2\pi r", "2 π r", r"2 \cdot \pi \cdot r"),
    ("sqrt(17)/2", r"\frac{\sqrt{17}}{2}", "√17/2", r"\sqrt{17}/2"),
    ("x**2 <= 4", r"x^2 \leq 4", "x² ≤ 4", r"x^{2}\le4"),
    ("sin(x)^2", r"\sin^2 x", r"\sin^{2}(x)"),
    ("[[1,2],[3,4]]", "[[1, 2], [3, 4]]"),
    ("abs(x-1)", "|x-1|", r"\left|x-1\right|", r"\lvert x-1\rvert"),
    ("C(n)", r"C\left(n\right)"),
    ("exp(2x)", "e^{2x}", "e^(2x)"),
    ("x_1 + x_2", "x1 + x2", "x₁+x₂"),
]


@pytest.mark.parametrize("spellings", SAME_TREE)
def test_notations_of_one_thing_give_one_tree(spellings: tuple[str, ...]) -> None:
    trees = {read(canonical(text)) for text in spellings}
    assert len(trees) == 1
    assert None not in trees


@pytest.mark.parametrize(
    ("text", "kind"),
    [("[1,2)", Group), ("(1,2,3)", Group), ("1, 2", Listing), ("x<3", Relation), (r"\{x \mid x>2\}", Builder),
     (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", Matrix), ("2x", Call), ("12,345", Number), (r"0.1\overline{6}", Number)],
)  # fmt: skip
def test_types(text: str, kind: type) -> None:
    assert isinstance(read(canonical(text)), kind)


@pytest.mark.parametrize(
    "text",
    [r"1,2,\ldots,n", "2 3", "x +", "(1", "1)", r"\frac{1}", r"\foo", "3 or", "a pound of feathers", r"\sqrt", "=",
     "^2", "1..2", r"\begin{pmatrix}1&2\\3\end{pmatrix}"],
)  # fmt: skip
def test_what_is_not_understood_gives_no_tree(text: str) -> None:
    assert read(canonical(text)) is None


def test_repeating_decimals_and_mixed_numbers_are_exact() -> None:
    for text, value in [(r"0.\overline{142857}", Fraction(1, 7)), ("0.1(6)", Fraction(1, 6)),
                        (r"2\frac34", Fraction(11, 4)), (r"0.333\ldots", Fraction(1, 3))]:  # fmt: skip
        tree = read(canonical(text))
        assert isinstance(tree, Number)
        assert tree.value == value


_PIECES = r"""\frac { } ( ) [ ] \{ \} 1 2 x y n ^ _ + - * / = < > \le \cup \pm , ; or and \sqrt \pi \infty | : \in
    \mathbb{Z} \sin cos log ! ° % ' \begin{cases} \end{cases} \begin{pmatrix} \end{pmatrix} & \\
    \sum_{k=1}^{n} \binom f(x) 0.3 12,345 e i 10^{9} \lfloor \rfloor mod if otherwise cm $ ½ ≥ \text{or}
    R x1 \overline{3} a:b to p.m. 3:00 No solution 9^{9^{9}} \neg \to"""
PIECES = _PIECES.split()


def test_no_sequence_of_notation_raises() -> None:
    draw = random.Random(5)
    for _ in range(1_500):
        texts = [" ".join(draw.choices(PIECES, k=draw.randint(1, 12))) for _ in range(2)]
        decide(*texts)
        decide(texts[0], texts[0] + draw.choice(PIECES))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_raises_and_nothing_equals_what_it_is_not(gold: str, prediction: str) -> None:
    decide(gold, prediction)
    if gold.strip():
        assert decide(gold, gold).outcome == "equal"
