"""How one thing is spelled in Unicode and in the many dialects of LaTeX: tables for `verifiers.answers.canonical`."""

from __future__ import annotations

_GREEK = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma sigma tau
upsilon phi chi psi omega"""  # in the order of Unicode, which has two signs for sigma
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "*", "·": "*", "∙": "*", "⋅": "*", "÷": "/", "⁄": "/",
    "∕": "/", "➗": "/", "✕": "*", "∗": "*",
    "∞": r"\infty ", "∧": r"\land ", "∨": r"\lor ", "¬": r"\neg ", "→": r"\to ", "⇒": r"\implies ", "⇔": r"\iff ",
    "↔": r"\iff ", "∖": r"\setminus ", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": r"\langle ", "⟩": r"\rangle ",
    "≡": r"\equiv ", "∉": r"\notin ", "∣": "|", "′": "'", "∛": r"\sqrt[3]", "∓": r"\mp ", "∠": r"\angle ",
    "△": r"\triangle ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "±": r"\pm ", "≈": r"\approx ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "€": "", "£": "", "¥": "", "₹": "",
    "。": ".", "，": ", ",
    **{chr(0x3B1 + i): f"\\{name} " for i, name in enumerate(_GREEK.split())},
}  # fmt: skip
COMMANDS = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\leq": r"\le", r"\leqslant": r"\le", r"\lt": "<",
    r"\geq": r"\ge", r"\geqslant": r"\ge", r"\gt": ">", r"\neq": r"\ne", r"\cdot": "*", r"\times": "*", r"\ast": "*",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\degree": "°", r"\infin": r"\infty",
    r"\quad": " ", r"\qquad": " ", r"\thinspace": " ", r"\displaystyle": " ", r"\textstyle": " ", r"\limits": " ",
    r"\lvert": "|", r"\rvert": "|", r"\vert": "|", r"\varnothing": r"\emptyset", r"\to": r"\to", r"\div": "/",
    r"\euro": "", r"\pounds": "", r"\varphi": r"\phi", r"\mid": "|", r"\colon": ":", r"\limit": r"\lim",
    r"\overrightarrow": r"\vec", r"\dbinom": r"\binom", r"\tbinom": r"\binom",
    r"\Longrightarrow": r"\implies", r"\Longleftrightarrow": r"\iff",
}  # fmt: skip
