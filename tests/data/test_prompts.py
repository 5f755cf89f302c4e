"""Prompt templates: a missing variable is an error, and the hash follows the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import Kind, Problem


def test_an_undefined_variable_is_an_error_that_names_it(tmp_path: Path, problem: Problem) -> None:
    file = tmp_path / "bad.jinja"
    file.write_text("{{ prompt }} {{ quesiton }}")
    with pytest.raises(UserError, match="quesiton"):
        PromptTemplate(str(file)).render(problem)


def test_a_template_that_does_not_show_the_problem_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bad.jinja"
    file.write_text("Solve this: {prompt}{% if hint %} ({{ hint }}){% endif %}")
    with pytest.raises(UserError, match=r"without the problem.*\{\{ prompt \}\}"):
        PromptTemplate(str(file))


def test_bad_syntax_is_an_error_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.jinja"
    file.write_text("one\n{% if %}")
    with pytest.raises(UserError, match=r"bad\.jinja:2"):
        PromptTemplate(str(file))


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(UserError, match="arithmetic, choice, choice_fewshot, code, math"):
        PromptTemplate("arithmetik")


def test_the_hash_follows_the_text(tmp_path: Path) -> None:
    file = tmp_path / "a.jinja"
    file.write_text("{{ prompt }}\n")
    before = PromptTemplate(str(file)).hash()
    file.write_text("{{ prompt }}!\n")
    assert PromptTemplate(str(file)).hash() != before


def test_a_problem_cannot_run_template_code(tmp_path: Path) -> None:
    hostile = Problem.create(prompt="{{ 7 * 7 }}{% for x in y %}", answer="1")
    assert "{{ 7 * 7 }}" in PromptTemplate("math").render(hostile)


@pytest.mark.parametrize("name", ["arithmetic", "math", "math_fewshot", "choice", "choice_fewshot"])
def test_shipped_templates_differ_by_the_hint_alone(name: str, problem: Problem) -> None:
    plain, hinted = PromptTemplate(name).render(problem), PromptTemplate(name).render(problem, hint="777")
    assert "777" not in plain
    if not name.startswith("choice"):
        assert "777" in hinted


@pytest.mark.parametrize(("name", "marks"), [("choice", 1), ("choice_fewshot", 4)])
def test_the_hint_of_a_choice_is_a_mark_on_the_right_one(name: str, marks: int) -> None:
    asked = Problem.create(prompt="Which?", answer="B", kind=Kind.CHOICE, choices=("one", "two", "three"))
    plain, hinted = PromptTemplate(name).render(asked), PromptTemplate(name).render(asked, hint="B")
    assert "(B) two (CORRECT)\n" in hinted
    assert (plain.count("(CORRECT)"), hinted.count("(CORRECT)")) == (0, marks)
    assert hinted.replace(" (CORRECT)", "") == plain
