"""The commands of LaTeX and the words that matter to the arithmetic of a step."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


COMMANDS = {
    "times": "*", "cdot": "*", "div": "/", "%": "%", "lbrack": "(", "rbrack": ")",
}  # fmt: skip
SKIPPED = words(
    "left right big Big bigl bigr Bigl Bigr bigg Bigg biggl biggr Biggl Biggr displaystyle textstyle boxed "
    "nonumber , ; : ! > fbox rm"
)
BREAKS = words(
    "quad qquad Rightarrow implies Longrightarrow iff Leftrightarrow Longleftrightarrow rightarrow to le leq ge geq ne "
    "neq lt gt leqslant geqslant therefore because hspace vspace ( ) [ ] item longrightarrow"
)
APPROXIMATE = frozenset(("approx", "simeq", "doteq", "sim"))
FUNCTIONS = {"frac": "frac", "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "sqrt": "sqrt", "binom": "binom",
              "dbinom": "binom", "tbinom": "binom"}  # fmt: skip
GREEK = words("alpha beta gamma delta theta lambda mu phi omega rho sigma tau epsilon varepsilon eta psi ell")
FUNCTIONS_IN_WORDS = words("sin cos tan log ln mod gcd lcm max min cot sec csc sqrt abs floor ceil")
