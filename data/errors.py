"""The whole error model, as one small tree.

    StepstarError
    ├── UserError            a mistake the user can mend: one line, the cure, exit code 2, no traceback
    │   ├── InputError       a file or row that cannot be read; names the file and the line
    │   ├── DependencyError  an optional package is missing; names the extra to install
    │   └── RunFolderError   the run folder belongs to another recipe, process or version
    └── EngineError          a generation engine failed; `retryable` says whether trying again can help

A failure that belongs to one sample is data, not an exception: it becomes `Completion.error`, a `Verdict` with status
`undecided`, or a row of `rejects.jsonl`, and is counted. Anything outside this tree is a bug and keeps its traceback.
"""

from __future__ import annotations


class StepstarError(Exception):
    """Root of every error that stepstar raises on purpose."""


class UserError(StepstarError):
    """A mistake that the user can mend.

    Args:
        problem: what is wrong, in one line.
        cure: what to do about it, in one line.
    """

    def __init__(self, problem: str, cure: str = "") -> None:
        self.problem = problem
        self.cure = cure
        super().__init__(f"{problem} {cure}".strip())


class InputError(UserError):
    """A file or a row of it cannot be read."""


class DependencyError(UserError):
    """An optional dependency is missing.

    Args:
        package: the import name that is missing.
        extra: the extra of this distribution that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package '{package}' is not installed.", f"Install it: pip install 'stepstar[{extra}]'")

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        """In another process it is the user's error that it is."""
        return UserError, (self.problem, self.cure)


class RunFolderError(UserError):
    """The run folder cannot be used by this command."""


class EngineError(StepstarError):
    """A generation engine failed as a whole.

    Args:
        message: what the engine said.
        retryable: whether the same request may succeed later.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        self.retryable = retryable
        super().__init__(message)
