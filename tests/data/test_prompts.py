"""Prompt templates: a missing variable is an error, and the hash follows the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import Problem


def test_an_undefined_variable_is_an_error_that_names_it(tmp_path: Path, problem: Problem) -> None:
    file = tmp_path / "bad.jinja"
    file.write_text("{{ prompt }} {{ quesiton }}")
    with pytest.raises(UserError, match="quesiton"):
        PromptTemplate(str(file)).render(problem)


def test_bad_syntax_is_an_error_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.jinja"
    file.write_text("one\n{% if %}")
    with pytest.raises(UserError, match=r"bad\.jinja:2"):
        PromptTemplate(str(file))


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(UserError, match="arithmetic, choice, code, math"):
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


@pytest.mark.parametrize("name", ["arithmetic", "math", "math_fewshot", "choice"])
def test_shipped_templates_differ_by_the_hint_alone(name: str, problem: Problem) -> None:
    plain, hinted = PromptTemplate(name).render(problem), PromptTemplate(name).render(problem, hint="777")
    assert "777" not in plain
    if name != "choice":
        assert "777" in hinted
