"""Prompt templates: jinja2 files with a hash, and a missing variable is an error.

One file renders both the plain prompt and the hinted one, so that the two can only differ by the hint. The hint is the
bare answer (or the mark on the right choice), never a gold solution.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.ids import content_id
from data.records import Problem

TEMPLATES = Path(__file__).parent / "templates"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@cache
def _compile(source: str) -> tuple[Any, bool]:
    """The template, and whether it shows the problem."""
    from jinja2 import StrictUndefined, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False
    )
    template = environment.from_string(source)
    # A render copies the globals, and jinja's chain of maps takes longer to copy than all the rest takes.
    template.globals = dict(template.globals)
    return template, "prompt" in meta.find_undeclared_variables(environment.parse(source))


class PromptTemplate:
    """A template by name (`arithmetic`, `math`, `math_fewshot`, `choice`) or by path.

    Raises:
        UserError: there is no such template, it does not compile, or it does not show the problem.
    """

    def __init__(self, name: str) -> None:
        shipped = TEMPLATES / f"{name}.jinja"
        file = shipped if shipped.is_file() else Path(name)
        if not file.is_file():
            names = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
            raise UserError(f"no prompt template '{name}'.", f"Use one of {names}, or the path of a .jinja file.")
        from jinja2 import TemplateSyntaxError

        self.name = name
        try:
            self.source = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: not UTF-8.", "Save it as UTF-8.") from error
        try:
            self._template, shows_problem = _compile(self.source)
        except TemplateSyntaxError as error:
            raise UserError(f"{file}:{error.lineno}: {error.message}", "Mend the template.") from error
        if not shows_problem:
            raise UserError(
                f"{file}: a prompt template without the problem.", "Write {{ prompt }} where the problem belongs."
            )

    def render(self, problem: Problem, *, hint: str = "") -> str:
        """The prompt for a problem; with `hint`, the rationalization prompt.

        Raises:
            UserError: the template uses a variable that is none of prompt, choices, letters, hint.
        """
        from jinja2 import UndefinedError

        try:
            return str(
                self._template.render(prompt=problem.prompt, choices=problem.choices, letters=_LETTERS, hint=hint)
            )
        except UndefinedError as error:
            raise UserError(
                f"prompt template '{self.name}': {error.message}.",
                "Only prompt, choices, letters and hint are defined.",
            ) from error

    def hash(self, *, hinted: bool = False) -> str:
        """Hash of the template's text and of whether the hint was shown."""
        return content_id("prompt", self.source, "hinted" if hinted else "plain")
