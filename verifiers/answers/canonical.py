r"""One spelling for one answer: text in, canonical LaTeX-like text out; pure and total, never raises.

Equal canonical strings mean equal answers. What is dropped carries no value (math delimiters, `\left`, fonts, markup,
currency signs, invisible characters, a final full stop); what is rewritten has one reading (`½`, `√2`, `x²`, `\frac12`,
`sqrt(17)`, `10{,}000`). Superscripts and vulgar fractions are rewritten before NFKC, which would make 22 of `2²`. Golds
that a well-known script has squeezed are mended (`\pir`, matrix rows parted by a single backslash).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from verifiers.answers.spellings import COMMANDS, SUBSCRIPTS, SUPERSCRIPTS, SYMBOLS

_FUNCTIONS = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp max min gcd lcm det"
FUNCTIONS = frozenset(_FUNCTIONS.split())
"""Functions that are read as such with and without a backslash."""

_SIZE = re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|middle|displaystyle)(?![a-zA-Z])\s*\.?")
_FONT = re.compile(
    r"\\(text(?:bf|it|rm|tt|sf|normal)?|mbox|hbox|underline|math(?:rm|bf|it|sf|tt|cal|scr)|operatorname\*?|emph|bm"
    r"|boldsymbol)"
    r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_COLOR = re.compile(r"\\(?:textcolor|colorbox|color)\s*\{[^{}]*\}")
_LIBRARY = re.compile(r"\b(?:math|np|numpy|sympy|sp|cmath)\.(?=[a-zA-Z])")
_WRAPPED = re.compile(r"\s*(?:Matrix|array|list|tuple|set|frozenset|FiniteSet)\s*\((.*)\)\s*", re.DOTALL)
_CHOOSE = re.compile(r"\{([^{}]*)\\choose(?![a-zA-Z])([^{}]*)\}")
_OVER = re.compile(r"\{([^{}]*)\\over(?![a-zA-Z])([^{}]*)\}")
_MATHEMATICA = re.compile(
    r"\b(Sqrt|Sin|Cos|Tan|Cot|Sec|Csc|ArcSin|ArcCos|ArcTan|Log|Exp|Abs|Floor|Max|Min|GCD|LCM)\[([^\[\]]*)\]"
)
_BOLD_DOMAIN = re.compile(r"\\(?:mathbf|mathrm|bf)\s*\{?\s*([RZNQC])\s*\}?(?![a-zA-Z])(?=\s*(?:$|[\^_,.;)}$]|\\))")
_NESTED_LISTS = re.compile(r"\s*\{(\s*\{[^{}\\]*\}\s*(?:,\s*\{[^{}\\]*\}\s*)*)\}\s*")
_MATLAB = re.compile(r"\s*\[([^\[\],]*;[^\[\],]*)\]\s*")
_INTERVAL = re.compile(r"\bInterval(?:\.(open|Lopen|Ropen))?\(([^(),]*),([^(),]*)\)")
_FACTORIAL_EQUALS = re.compile(r"(?<=[\w)])! +=(?!=)")
_CIRCLED = re.compile("[①-⑳]+(?:\\s*(?:,|、|and|和)?\\s*[①-⑳]+)*")
_REMARKS = re.compile(r"\\(?:therefore|because)(?![a-zA-Z])|\\tag\s*\{[^{}]*\}|&nbsp;|\\\\\[\d+pt\]|^\s*>(?=\s)")
_ALIGNED = re.compile(r"\\(?:begin|end)\{(?:aligned|align|align\*|gathered|split|equation\*?)\}")
_TAG = re.compile(r"</?(?:b|i|em|strong|u|code|p|span|div|br ?/?)>", re.IGNORECASE)
_GROUP_MARK = re.compile(r"(?<=\d)(?:\\!)*(?:\{,\}|,\\!|\\,|\\ |~|[\u00a0\u202f\u2009])(?=\d{3}(?!\d))")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_BARE_FUNCTION = re.compile(r"(?<![\\a-zA-Z])(arc(?:sin|cos|tan)|sin|cos|tan|cot|sec|csc|log|ln|exp)(?=[\s(\d^{]|$)")
_GLUED = re.compile(r"\\(pi|theta|sin|cos|tan|cot|sec|csc|ln|leq|geq)((?!h|slant)[a-zA-Z])(?![a-zA-Z])")
_MATRIX = re.compile(r"\\begin\{\w*matrix\}.*?\\end", re.DOTALL)
_SPACED = re.compile(r" ?([-+*/^_=<>(){}\[\]|&;]|\\\{|\\\}|\\\\) ?")
_VULGAR = re.compile(r"[\u00bc-\u00be\u2150-\u215e]")

_PLAIN_NUMBER = re.compile(r"\s*-?\d{1,15}(?:\.\d+)?\s*", re.ASCII)
_SUPERSCRIPT = re.compile("[" + "".join(SUPERSCRIPTS) + "]+")
_SUBSCRIPT = re.compile("[" + "".join(SUBSCRIPTS) + "]+")
_ROOT_OF_GROUP = re.compile(r"([√∛])\s*\(")
_ROOT = re.compile(r"√\s*(\d+|[a-zA-Zπ])")
_DEGREE_SIGN = re.compile("[°º˚]")
_LINK = re.compile(r"^\s*\[([^\[\]]+)\]\(https?://[^()\s]*\)\s*$")
_APOSTROPHE_GROUP = re.compile(r"(?<=\d)['’_](?=\d{3}(?!\d))")
_EMPHASIS = re.compile(
    r"^\s*(?:\*\*(.*?)\*\*\s*[.:]?|__(.*)__|\*([^*]*)\*|#+ (.*)|[\"“](.*)[\"”]|'(.*)')\s*$", re.DOTALL
)
_DELIMITER = re.compile(r"\\[()]|(?<!\\)\\[\[\]]")
_SPACE = re.compile(r"(?<!\\)\\[,;: ]|~|(?:\\| )+$")
_OHM = re.compile(r"(?<=\d) *\\Omega\s*$")
_PREFIXED_UNIT = re.compile(r"(?<=\d) *\\mu *([A-Za-z]{1,6})\s*$")
_JOINER = re.compile(r"\{(or|and)\}")
_ROW = re.compile(r"(?<!\\)\\(?=[-\d])")
_CIRC = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ|\{\s*°\s*\}|°)")
_STARS = re.compile(r"(?<=[\w)}])\s*\*\*\s*(?=[\w({-])")
_BARE_PI = re.compile(r"(?<![\\a-zA-Z])[pP]i(?![a-zA-Z])")
_BARE_INFINITY = re.compile(r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", re.IGNORECASE)
_BARE_ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt\s*(?=[({])")
_AFTER_COMMAND = re.compile(r"(\\[a-zA-Z]+) (?![a-zA-Z])")
_BEFORE_COMMAND = re.compile(r" (?=\\[a-zA-Z])")
_LOOSE_COMMA = re.compile(r" ?,(?= )")


@lru_cache(maxsize=8_192)
def canonical(text: str) -> str:
    """Rewrite an answer in the one spelling."""
    if _PLAIN_NUMBER.fullmatch(text):
        return text.strip()
    text = _programs(text)
    text = _markup(_unicode(text))
    text = _arguments(_names(_commands(text) if "\\" in text or "{" in text or "~" in text else text))
    text = _SPACED.sub(r"\1", " ".join(text.split()))
    text = _AFTER_COMMAND.sub(r"\1", _BEFORE_COMMAND.sub("", text))
    return _punctuation(_LOOSE_COMMA.sub(",", text))


def was_text(raw: str) -> bool:
    r"""Whether the answer was marked as words (`\text{...}`), so that its letters are not variables."""
    return bool(re.match(r"\s*\$?\s*\\(?:text|mbox|hbox|mathrm)[a-z]*\s*\{[^{}]{2,}\}", raw))


def closing(text: str, start: int) -> int:
    """Index of the brace that closes the one at `start`, escaped braces aside; -1 if there is none."""
    depth, position = 0, start
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        position = match.start()
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return position
    return -1


def _programs(text: str) -> str:
    """What Mathematica, Matlab and sympy print, as mathematics."""
    text = _FACTORIAL_EQUALS.sub(r"! \\eq ", text)  # `7! = 5040` has a space in it, `x != 5` has none
    text = _CIRCLED.sub(lambda m: ", ".join(str(ord(sign) - 0x245F) for sign in m.group() if "①" <= sign <= "⑳"), text)
    if "[" in text:
        text = _MATHEMATICA.sub(lambda m: f"{m.group(1).lower().replace('arc', 'arc')}({m.group(2)})", text)
        if match := _MATLAB.fullmatch(text):
            rows = [",".join(row.split()) for row in match.group(1).split(";")]
            text = "[" + ",".join(f"[{row}]" for row in rows) + "]"
    if match := _NESTED_LISTS.fullmatch(text):
        text = "[" + match.group(1).replace("{", "[").replace("}", "]") + "]"
    if "Interval" in text:
        text = _INTERVAL.sub(_interval, text)
    return _BOLD_DOMAIN.sub(r"\\mathbb{\1}", text)


def _interval(match: re.Match[str]) -> str:
    kind, low, high = match.groups()
    return f"{'(' if kind in ('open', 'Lopen') else '['}{low},{high}{')' if kind in ('open', 'Ropen') else ']'}"


def _unicode(text: str) -> str:
    text = _GROUP_MARK.sub("", text)
    if text.isascii() and text.isprintable():
        return text
    text = _SUPERSCRIPT.sub(lambda m: _script("^", m.group(), SUPERSCRIPTS), text)
    text = _SUBSCRIPT.sub(lambda m: _script("_", m.group(), SUBSCRIPTS), text)
    text = _VULGAR.sub(lambda m: " " + unicodedata.normalize("NFKC", m.group()) + " ", text)
    text = _ROOT_OF_GROUP.sub(lambda m: "sqrt(" if m.group(1) == "√" else "cbrt(", text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = "".join(SYMBOLS.get(char, char) for char in text)
    text = unicodedata.normalize("NFKC", _DEGREE_SIGN.sub(r"\\degree ", text))
    text = "".join(SYMBOLS.get(char, char) for char in text)
    # Controls, zero-width characters and marks of writing direction have no value of their own.
    return "".join(char for char in text if char in "\n\t " or unicodedata.category(char) not in ("Cc", "Cf"))


def _script(mark: str, run: str, table: dict[str, str]) -> str:
    return mark + "{" + "".join(table[char] for char in run) + "}"


def _markup(text: str) -> str:
    text = _REMARKS.sub(" ", _TAG.sub(" ", text)) if re.search(r"[<\\&>]", text) else text
    text = _LIBRARY.sub("", text.replace("`", " "))
    text = _LINK.sub(r"\1", text)
    text = _APOSTROPHE_GROUP.sub("", text)
    if match := _WRAPPED.fullmatch(text):
        text = match.group(1)
    if _ALIGNED.search(text):
        text = _ALIGNED.sub(" ", text).replace("&", " ").replace("\\\\", ", ")
    text = _EMPHASIS.sub(r"\1\2\3\4\5\6", text)
    text = _DELIMITER.sub(" ", text) if "\\" in text else text
    return text.replace(r"\$", "").replace("$", " ").replace(r"\%", "%").replace(r"\#", "#").replace(r"\_", "_")


def _commands(text: str) -> str:
    """LaTeX in one dialect, without what only says how it looks."""
    text = _SIZE.sub("", _COLOR.sub("", text)).replace(r"\!", "")
    for _ in range(4):
        text, count = _FONT.subn(_unfont, text)
        if not count:
            break
    text = _SPACE.sub(" ", text)
    text = _JOINER.sub(r" \1 ", text)
    text = _OVER.sub(r"\\frac{\1}{\2}", text)
    text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    text = _GLUED.sub(r"\\\1 \2", text.replace("{,}", ",").replace("{}", ""))
    text = _MATRIX.sub(lambda m: _ROW.sub(r"\\\\", m.group()), text)
    text = _PREFIXED_UNIT.sub(r" u\1", _OHM.sub(" ohm", text))
    text = _COMMAND.sub(lambda m: COMMANDS.get(m.group(), m.group()), text)
    return _CIRC.sub("°", text)


def _names(text: str) -> str:
    """Functions and constants that plain text spells without a backslash."""
    text = _STARS.sub("^", text)
    text = _BARE_FUNCTION.sub(r"\\\1 ", text)
    text = _BARE_PI.sub(r"\\pi ", text)
    text = _BARE_INFINITY.sub(r"\\infty ", text)
    return _BARE_ROOT.sub(r"\\sqrt", text)


def _unfont(match: re.Match[str]) -> str:
    font, inner = match.groups()
    if font.startswith("operatorname"):
        return f"\\{inner.strip()} " if inner.strip() in FUNCTIONS else f" {inner} "
    # A space keeps words apart from a number: `5\text{cm}`; in `\mathrm{e}^x` there is nothing to keep apart.
    if inner[1:].isalpha() and font.startswith("mathrm"):
        return f" {inner} "
    return f" {inner} " if font.startswith(("text", "mbox", "hbox", "emph")) else f"{{{inner}}}" if inner[1:] else inner


def _arguments(text: str) -> str:
    r"""Put braces round every argument of `\frac`, `\sqrt`, `^` and `_`: `\frac12`, `x^2`, `2^(1/2)`."""
    pieces, position = [], 0
    for match in re.compile(r"\\frac(?![a-zA-Z])|\\sqrt(?![a-zA-Z])(?:\s*\[[^\[\]]*\])?|[\^_]").finditer(text):
        if match.start() < position:
            continue
        pieces.append(text[position : match.start()] + re.sub(r"\s+", "", match.group()))
        position = match.end()
        for _ in range(2 if match.group() == r"\frac" else 1):
            argument, position = _argument(text, position, script=match.group() in "^_")
            # Only a rewritten argument is closed here; a braced one is left in place so that its inside is seen too.
            pieces.append(argument)
            if not argument:
                break
    return "".join(pieces) + text[position:]


def _argument(text: str, start: int, *, script: bool) -> tuple[str, int]:
    """The argument at `start`, in braces, and where it ends; an empty string where there is none."""
    while start < len(text) and text[start] == " ":
        start += 1
    if text[start : start + 1] == "{":
        end = closing(text, start)
        return ("", start) if end < 0 else ("{" + _inner(text[start + 1 : end]) + "}", end + 1)
    if text[start : start + 1] == "(":
        end = _closing_paren(text, start)
        if end > 0:
            return "{" + _inner(text[start + 1 : end]) + "}", end + 1
    pattern = r"[-+]?(?:\d*\.\d+|\d+|[a-zA-Z]|\\[a-zA-Z]+)" if script else r"\d|[a-zA-Z]|\\[a-zA-Z]+"
    match = re.compile(pattern).match(text, start)
    return ("{" + match.group() + "}", match.end()) if match else ("", start)


def _inner(text: str) -> str:
    # Depth is bounded by the cap on nesting that every caller applies first (`verifiers.answers.limits`).
    return _arguments(text) if re.search(r"\\frac|\\sqrt|[\^_]", text) else text


def _closing_paren(text: str, start: int) -> int:
    depth = 0
    for position in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position
    return -1


def _punctuation(text: str) -> str:
    text = text.strip()
    while text and (text[-1] in ".,;:" or text.endswith("\\\\")):
        text = (text[:-2] if text.endswith("\\\\") else text[:-1]).rstrip()
    while text and text[0] in "=:,;":
        text = text[1:].lstrip()
    while text.startswith("{") and closing(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    return text
