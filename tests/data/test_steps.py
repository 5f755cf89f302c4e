r"""Property: cutting loses nothing and takes linear time, and a step is what a reader would judge as one claim."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.steps import join_steps, split_steps

_PIECES = [
    "\n",
    "\r\n",
    "\r",
    "\u2028",
    "\u0085",
    "\x1c",
    " ",
    "\t",
    "\n\n",
    "   ",
    "a",
    "B",
    "3",
    ".",
    "!",
    "?",
    ". ",
    "1. ",
    "Step 2: ",
    "#### 4",
    "# Answer",
    "The answer is",
    "**b**",
    "$",
    "$$",
    "\\[",
    "\\]",
    "\\\\",
    "\\(",
    "\\)",
    "\\begin{a}",
    "\\end{a}",
    "\\begin{b}",
    "\\end{b}",
    "```",
    "````",
    "[asy]",
    "[/asy]",
    "e.g.",
    "Mr.",
    "3.14",
    "。",
    "\ud800",
    "\udfff",
    "\U0001f600",
]
texts = st.text() | st.lists(st.sampled_from(_PIECES), max_size=30).map("".join)


@given(texts)
@example("\ud800\n\udfff")
@example("\u2028. \u2028A")
@example(". A")
def test_joining_the_steps_gives_the_text_back(text: str) -> None:
    assert join_steps(split_steps(text)) == text


@given(texts)
def test_no_step_is_white_space_unless_the_text_is(text: str) -> None:
    steps = split_steps(text)
    if text.strip():
        assert all(step.strip() for step in steps)
    else:
        assert steps == ((text,) if text else ())


@given(texts)
def test_white_space_between_steps_stays_at_the_end_of_the_earlier_one(text: str) -> None:
    assert not any(step[0].isspace() for step in split_steps(text)[1:])


def shown(text: str) -> list[str]:
    """The steps without the white space at their ends."""
    steps = split_steps(text)
    assert join_steps(steps) == text
    return [step.strip() for step in steps]


# --- lines, paragraphs, numbered items --------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n", "\r\n\r\n", " \n \n"])
def test_a_line_that_is_a_sentence_or_an_equation_is_a_step(newline: str) -> None:
    lines = ["She sold 48/2 = <<48/2=24>>24 clips in May.", "x = 5", "so 48+24=72 in all", "#### 72"]
    assert shown(newline.join(lines)) == lines


def test_separators_go_to_the_step_before_and_leading_space_to_the_first() -> None:
    assert split_steps(" \n a\n\nb \n\n") == (" \n a\n\n", "b \n\n")


def test_empty_and_blank_texts() -> None:
    assert split_steps("") == ()
    assert split_steps(" \n\n ") == (" \n\n ",)
    assert join_steps(()) == ""


@pytest.mark.parametrize(
    "mark", ["{}. ", "{}) ", "({}) ", "Step {}: ", "**Step {}:** ", "STEP {}. ", "> {}. ", "**{}.** "]
)
@pytest.mark.parametrize("gap", ["\n", "\n\n"])
def test_each_numbered_item_starts_a_step_and_keeps_its_own_lines(mark: str, gap: str) -> None:
    texts = ["Add.\n   4 + 4 = 8", "Halve:\n   - 8/2\n   - 4", "Done."]
    items = [mark.format(number) + text for number, text in enumerate(texts, start=1)]
    assert shown(gap.join(items)) == items


def test_an_indented_paragraph_belongs_to_its_item_and_other_text_after_a_blank_line_does_not() -> None:
    assert shown("1. Add.\n\n   4 + 4 = 8\n2. Halve.\n\nSo it is 4.") == [
        "1. Add.\n\n   4 + 4 = 8",
        "2. Halve.",
        "So it is 4.",
    ]


def test_one_numbered_line_does_not_make_a_list() -> None:
    assert shown("1. We add.\n4+4=8\nThen stop.") == ["1. We add.", "4+4=8", "Then stop."]


def test_a_decimal_at_the_start_of_a_line_is_no_item() -> None:
    assert shown("3.5 + 1\n4.5 + 1\nis 10") == ["3.5 + 1", "4.5 + 1", "is 10"]


def test_llama_style_headings_belong_to_what_follows() -> None:
    steps = ["## Step 1: Add\nWe add 4 and 4.\nThat is 8.", "## Step 2: Halve\n\nHalf of 8 is 4.", "#### 4"]
    assert shown("\n\n".join(steps)) == steps


# --- the final answer -------------------------------------------------------------------------------------------------


FINALS = [
    "#### 42",
    "####42",
    "# Answer\n\n42",
    "## Final answer\n42",
    "**Answer**\n\n42",
    "Answer:\n\n42",
    "The answer is: 42",
    "Final Answer: $42$",
    "#### $\\frac{1}{2}$",
]


@pytest.mark.parametrize("final", FINALS)
@pytest.mark.parametrize("body", ["We add.\nThen halve.", "1. We add.\n2. Then halve.", "We add.\n\nThen halve."])
def test_the_final_answer_is_a_step_of_its_own(body: str, final: str) -> None:
    for gap in ("\n", "\n\n"):
        *_, before, last = shown(body + gap + final)
        assert last == final
        assert before.endswith("Then halve.")


def test_sentences_before_a_final_answer_line_are_cut_too() -> None:
    assert shown("We add. Then halve.\n#### 42\n") == ["We add.", "Then halve.", "#### 42"]


def test_text_after_the_final_answer_is_not_swallowed() -> None:
    assert shown("a = 1\n#### 42\nBut wait.") == ["a = 1", "#### 42", "But wait."]


# --- sentences in one line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("He has 3.14 m of rope. He cuts 1.5 m off.", 2),
        ("Mr. Smith pays Mrs. Jones. Dr. No pays St. Peter.", 2),
        ("Use fruit, e.g. Apples. Or tools, i.e. Hammers.", 2),
        ("The U.S. Army has 5. It buys 2.", 2),
        ("He left at 5 p.m. Then he ran.", 2),
        ("By Eq. 5 and Fig. 2 it holds. So we stop.", 2),
        ("Is it 5? Yes! It is.", 3),
        ("There are 5! = 120 ways. We halve them.", 2),
        ('He said "five." Then he left. (He ran.) She stayed.', 4),
        ("So x is 5. then y is 6.", 2),
        ("Step 1: Add. Step 2: Halve.", 2),
        ("1. Add them. 2. Halve it. 3. Done.", 3),
        ("The sum is 4. 2. Then we halve.", 2),
        ("It costs $5. Then he pays $3. Then $2 remain.", 3),
        ("So $x = 2. Y$ holds. We stop.", 2),
        (r"So \(x = 2. Y\) holds. We stop.", 2),
        (r"We get \[x = 2.\]Then we stop.", 2),
        (r"We get $$x = 2.$$ Then we stop.", 2),
        (r"We get \begin{align*}x &= 2. Y\\ y &= 3.\end{align*} Then we stop.", 2),
        ("これは五です。次に進む。", 2),
        ("wait... what is it? It is 5.", 2),
        ("no full stop at all", 1),
    ],
)
def test_one_line_is_cut_at_sentence_ends_and_nowhere_else(text: str, count: int) -> None:
    steps = shown(text)
    assert len(steps) == count, steps
    assert all(step[-1] in '.!?。)"$' or step.endswith(("}", "\\]", "all")) for step in steps), steps


def test_lines_of_several_sentences_are_not_cut_further() -> None:
    assert shown("We add. We halve.\nWe stop. Done.") == ["We add. We halve.", "We stop. Done."]


# --- what is never cut ------------------------------------------------------------------------------------------------

BLOCKS = [
    "\\begin{align}\na &= 1 \\\\\n\n\\begin{cases}\nb. C\n\\end{cases}\n#### 5\n\\end{align}",
    "\\[\nx = 1\n\n1. y = 2\n\\]",
    "\\[ a \\\\[2mm]\n b \\]",
    "$$\nx\n\n= 1\n$$",
    "```python\nx = 1\n\n# Answer\n1. y\n$$ \\[\n```",
    "````\n```\na\n\n```\nb\n````",
    "[asy]\ndraw(a);\n\ndraw(b);\n[/asy]",
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
@pytest.mark.parametrize("gap", ["\n", "\n\n"])
def test_a_block_is_never_cut_inside(block: str, gap: str) -> None:
    first, *middle, last = shown(f"First we look.{gap}{block}{gap}Then we stop.")
    assert (first, middle, last) == ("First we look.", [block], "Then we stop.")


@pytest.mark.parametrize("block", ["\\[\nx = 1\n\\]", "$$x = 1$$", "\\begin{align}\nx\n\\end{align}"])
def test_a_sentence_that_runs_through_a_formula_is_one_step(block: str) -> None:
    assert shown(f"So we have\n{block}\nwhere x is small.\nThen stop.") == [
        f"So we have\n{block}\nwhere x is small.",
        "Then stop.",
    ]


def test_formulas_on_lines_of_their_own_are_steps() -> None:
    assert shown("$$a = 1$$\n$$b = 2$$\n\\[c\\]") == ["$$a = 1$$", "$$b = 2$$", "\\[c\\]"]


def test_an_unclosed_fence_runs_to_the_end() -> None:
    assert shown("Look.\n```\na\n\n1. b\n\n#### 4") == ["Look.", "```\na\n\n1. b\n\n#### 4"]


@pytest.mark.parametrize("opening", ["$$", "\\[", "\\begin{align}", "[asy]", "\\begin{"])
def test_an_opening_that_is_never_closed_is_ordinary_text(opening: str) -> None:
    assert shown(f"a = 1\n{opening} b\nc = 3") == ["a = 1", f"{opening} b", "c = 3"]


def test_escaped_brackets_and_dollars_open_nothing() -> None:
    assert shown("a \\\\[2mm]\nb = 1\nc \\]") == ["a \\\\[2mm]", "b = 1", "c \\]"]
    assert shown("\\$$ 5\nb\n$$ c") == ["\\$$ 5", "b", "$$ c"]


# --- time -------------------------------------------------------------------------------------------------------------

HOSTILE = {
    "unclosed $$": "a $$ b\n\\[" * 100_000,
    "odd $$": "$$" * 100_001,
    "unclosed begin": "\\begin{align} x\n" * 100_000,
    "half begin": "\\begin{" * 140_000,
    "nested begin": "\\begin{a}" * 50_000 + "\\end{a}" * 50_000,
    "unclosed \\[": "\\[\n" * 330_000,
    "unclosed \\(": "\\(" * 500_000,
    "dollars": "$a" * 500_000,
    "short lines": "a\n" * 500_000,
    "newlines": "a" + "\n" * 1_000_000 + "b",
    "spaces": "a\n" + " " * 1_000_000 + "b",
    "dots": "." * 1_000_000,
    "sentences": "A. " * 330_000,
    "closers": '."' * 500_000,
    "backticks": "`" * 1_000_000,
    "fences": "``` " * 250_000,
    "backslashes": "\\" * 1_000_000,
    "items": "1. a\n" * 200_000,
    "headings": "# a\n" * 250_000,
    "stars": "**a\n" * 250_000,
    "hashes": "#" * 1_000_000,
    "formulas": "\\[x\\]\na\n" * 120_000,
    "one word": "x" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_anything_is_split_in_linear_time_and_joins_again(name: str) -> None:
    # No clock: what is quadratic in a megabyte does not come back within the life of a CI run.
    text = HOSTILE[name]
    assert join_steps(split_steps(text)) == text
