"""The final commitment of a text, how it was found, and when there is none."""

from __future__ import annotations

import pytest

from data.records import Status
from verifiers import check_answer
from verifiers.answers.extract import extract_answer

FOUND = [
    (r"We get $6\cdot7=\boxed{42}$.", "42", "boxed"),
    (r"\boxed{\frac{1}{\sqrt{3}}}", r"\frac{1}{\sqrt{3}}", "boxed"),
    (r"So \fbox{42} it is", "42", "boxed"),
    (r"thus \boxed 8.", "8", "boxed"),
    (r"\boxed{9}. Wait, I forgot a case. \boxed{10}", "10", "boxed"),
    (r"\boxed{9} and then \boxed{10}", "10", "boxed"),
    (r"both \boxed{9} and \boxed{10}", "9, 10", "boxed_list"),
    (r"\boxed{a+b}, or $\boxed{b+a}$", "b+a", "boxed"),
    (r"\boxed{9}. Actually I slipped: the answer is 10.", "10", "phrase"),
    (r"\boxed{9}. The answer is in lowest terms.", "9", "boxed"),
    (r"It is \boxed{(A)}, as answer (D) is not possible.", "(A)", "boxed"),
    ("3*14=<<3*14=42>>42\n#### 42", "42", "hash"),
    ("#### Step 1: add\n2+2\n#### 4", "4", "hash"),
    ("#### 42\n\nQuestion: Bob has 3 apples.\n#### 3", "42", "hash"),
    ("So the answer is 42 eggs.", "42 eggs", "phrase"),
    ("Therefore the final answer is: $x^2+1$", "$x^2+1$", "phrase"),
    ("**Final Answer:** 42", "42", "phrase"),
    ("Answer:\n\n42", "42", "phrase"),
    ("The answer is **1,234**.", "1,234", "phrase"),
    ("The answer is 3.75.", "3.75", "phrase"),
    ("The answer is $7 because she paid twice.", "$7", "phrase"),
    ("The answer to the question is Paris.", "Paris", "phrase"),
    ("答案是42", "42", "phrase"),
    (r"<think>\boxed{41}</think> The answer is 42", "42", "phrase"),
    ("It comes to\n**42**", "42", "bold"),
    ("**Last 3 days:** 6\n**Last 3 days**\nSo 42 in all", "42", "last_number"),
    ("The final answer is that he has **42** left.", "42", "phrase"),
    ("First 6, then 7.\nIn the end she has 42 eggs", "42", "last_number"),
    ("She has -3 left", "-3", "last_number"),
]

NONE = [
    ("", "no_final_answer"),
    ("I like trains.", "no_final_answer"),
    (r"\boxed{41} no: \boxed{}", "empty_box"),
    (r"\boxed{41} so \boxed{4", "unclosed_box"),
    ("we get\n#### ", "empty_hash"),
    ("The answer is not 42.", "retracted"),
    ("The answer isn't 42.", "retracted"),
    (r"\boxed{41}. Wait, that's wrong.", "retracted"),
    ("7? 8? 9? I don't know", "no_final_answer"),
    ("It could be 7. It could be 700", "no_final_answer"),
    ("<think>2+2 is 4, so", "unfinished"),
]

LETTERS = [
    ("The answer is (B).", "B"),
    ("the answer is b", "B"),
    ("So the answer must be a lake (D).", "D"),
    ("work\n#### C", "C"),
    (r"\boxed{\text{(E)}}", "E"),
    ("Answer: D. since it floats", "D"),
    ("(E)", "E"),
    ("Answer A is the correct option", "A"),
    ("B.", "B"),
    ("The answer is (B), not (A).", "B"),
    ("The answer is A or B", ""),
    ("The answer is a dog", ""),
]


def test_words_before_the_only_number_of_a_closing_sentence_are_prose() -> None:
    found = extract_answer("S = 2 * 8 = 16.\nSo, Seth is currently 16 years old.", kind="text")
    assert (found.answer, found.how) == ("16", "sentence")


@pytest.mark.parametrize("text", ["The answer is 41 or 42.", "#### 41 or 42", r"$\boxed{41}$ or $\boxed{42}$",
                                  r"\boxed{41} or 42", r"The answer is $41$ or maybe $42$."])  # fmt: skip
def test_a_guess_between_two_answers_is_neither_of_them(text: str) -> None:
    for gold in ("41", "42"):
        assert check_answer(gold, text, kind="text").status is not Status.CORRECT
    if "maybe" not in text:
        assert check_answer("42, 41", text, kind="text").status is Status.CORRECT


@pytest.mark.parametrize(("text", "answer", "how"), FOUND)
def test_final_commitment_is_found(text: str, answer: str, how: str) -> None:
    found = extract_answer(text, kind="text")
    assert (found.answer, found.how) == (answer, how)


@pytest.mark.parametrize(("text", "why"), NONE)
def test_no_commitment_is_no_answer(text: str, why: str) -> None:
    found = extract_answer(text, kind="text")
    assert (found.answer, found.how) == ("", why)


@pytest.mark.parametrize(("text", "letter"), LETTERS)
def test_option_letters(text: str, letter: str) -> None:
    assert extract_answer(text, kind="choice").answer == letter


@pytest.mark.parametrize(
    ("text", "how"),
    [("42", "as_given"), (r"$\boxed{42}$", "boxed"), ("a\nb 42", "last_number"), ("the answer is 42", "phrase"),
     ("She ate two. She has 3 left.", "last_number")],
)  # fmt: skip
def test_auto_tells_a_bare_answer_from_a_text(text: str, how: str) -> None:
    assert extract_answer(text, kind="auto").how == how


@pytest.mark.parametrize(
    "text",
    ["\n" * 1_000_000, "the answer is " * 70_000, r"\boxed{" * 140_000, "#" * 1_000_000, " " * 1_000_000 + "5",
     "\nQ:" * 300_000, "answer" + " " * 999_000, "1" * 1_000_000, "**" * 500_000, "#### \n" * 200_000,
     "\x00" * 1_000_000, "\ud800" * 1_000_000, "\u202e5" * 500_000],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_a_megabyte_of_anything_is_read_in_linear_time(text: str) -> None:
    # No clock: what is quadratic in a megabyte does not come back within the life of a CI run.
    for kind in ("text", "choice", "auto", "answer"):
        assert len(extract_answer(text, kind=kind).answer) <= len(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Final Answer:\nThe hospital makes a profit of $10,000 from these visits each day.", "$10,000"),
        ("The answer is that she has 5 apples left.", "5"),
        ("So the final answer is 12 more minutes.", "12 more minutes"),
    ],
)
def test_the_number_of_a_sentence_that_holds_just_one_is_its_answer(text: str, answer: str) -> None:
    assert extract_answer(text, kind="text").answer == answer


@pytest.mark.parametrize(
    "text",
    [
        "The answer is that she has more than 5 apples left.",
        "The answer is that she would have 5 apples if he left.",
        "The answer is that 3 of her 5 apples are left.",
    ],
)
def test_a_number_that_a_sentence_does_not_give_as_its_answer_is_not_taken(text: str) -> None:
    assert extract_answer(text, kind="text").answer not in ("3", "5")
