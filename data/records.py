"""The nouns of the project: frozen, slotted, keyword-only records.

Verdicts, labels and scores are tables of their own, joined to a rationale by `rationale_id`: they are recomputed
without touching a generation, several verifiers or PRMs live side by side, and no record is ever edited. The
arrow schema of each record is in `data.schema`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from data.ids import content_id


class Kind(StrEnum):
    """How a problem's answer is checked."""

    MATH = "math"
    CODE = "code"
    CHOICE = "choice"


class Origin(StrEnum):
    """Where a rationale came from."""

    SAMPLED = "sampled"
    RATIONALIZED = "rationalized"
    HUMAN = "human"
    SEARCHED = "searched"
    CORRUPTED = "corrupted"


class Status(StrEnum):
    """The four outcomes of a check. A check that could not decide never says `incorrect`."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NO_ANSWER = "no_answer"
    UNDECIDED = "undecided"


class FinishReason(StrEnum):
    """Why generation stopped. `LENGTH` means cut off at the token limit, which is not the same as wrong."""

    STOP = "stop"
    LENGTH = "length"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem with a known answer."""

    id: str
    """Content hash of kind, prompt, answer, tests and choices; see `Problem.create`."""
    prompt: str
    """The question as posed, without instructions."""
    answer: str
    """The gold answer: a bare answer for `math`, a letter for `choice`, empty for `code` (the tests decide)."""
    kind: Kind = Kind.MATH
    tests: str = ""
    """For `code`: the test program. Empty otherwise."""
    choices: tuple[str, ...] = ()
    """For `choice`: the text of options A, B, C, ... in order."""
    source: str = ""
    """Name of the source, e.g. `gsm8k`."""
    split: str = "train"
    """`train` or `test`; only `train` is ever trained on."""
    difficulty: str = ""
    """The source's own level, e.g. `3` or `Level 5`; empty where the source has none."""
    licence: str = ""
    """SPDX identifier or the source's own words."""
    solution: str = ""
    """A gold worked solution where the source has one. Never shown to the generator as a hint."""

    @classmethod
    def create(
        cls,
        *,
        prompt: str,
        answer: str,
        kind: Kind = Kind.MATH,
        tests: str = "",
        choices: tuple[str, ...] = (),
        **rest: Any,
    ) -> Problem:
        """Build a problem whose id is the hash of what identifies it: kind, prompt, answer, tests and choices."""
        return cls(
            id=content_id("problem", kind, prompt, answer, tests, *choices),
            prompt=prompt,
            answer=answer,
            kind=kind,
            tests=tests,
            choices=choices,
            **rest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What made a rationale; enough to make it again."""

    model: str
    """Hub id, folder name or checkpoint name within the run."""
    revision: str
    """Hash of the weights (first 16 digits) or a hub commit."""
    engine: str
    """`transformers`, `vllm`, `http`, `ray` or `scripted`."""
    prompt_hash: str
    """Hash of the prompt template; see `data.prompts`."""
    sampling: str
    """The sampling parameters as canonical JSON."""
    seed: int
    """Seed of this very sample."""
    round: int
    """STaR round that drew it; 0 is the base model."""
    code_version: str
    """Version of stepstar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rationale:
    """A worked solution, in steps."""

    id: str
    """Content hash of problem, text, origin, model revision and seed; see `Rationale.create`."""
    problem_id: str
    steps: tuple[str, ...]
    """The text cut into steps; joined (no separator) they give the text back exactly."""
    answer: str
    """The final answer that was extracted from the text; empty if none."""
    origin: Origin
    finish_reason: FinishReason
    n_tokens: int
    """Tokens that were generated."""
    made_by: Provenance
    parent_id: str = ""
    """The rationale that this one was derived from, if any."""

    @property
    def text(self) -> str:
        """The whole rationale."""
        return "".join(self.steps)

    @classmethod
    def create(
        cls, *, problem_id: str, steps: tuple[str, ...], origin: Origin, made_by: Provenance, **rest: Any
    ) -> Rationale:
        """Build a rationale whose id is the hash of what identifies it."""
        key = content_id(
            "rationale",
            problem_id,
            "".join(steps),
            origin,
            made_by.revision,
            made_by.prompt_hash,
            str(made_by.seed),
            str(made_by.round),
        )
        return cls(id=key, problem_id=problem_id, steps=steps, origin=origin, made_by=made_by, **rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier said about one answer."""

    status: Status
    extracted: str
    """The answer that was compared; empty if none was found."""
    method: str
    """The rule that decided, e.g. `integer`, `rational`, `symbolic`; empty when nothing did."""
    detail: str = ""
    """A short code that says why, e.g. `timeout`, `no_final_answer`, `last_number`."""
    seconds: float = 0.0
    """Wall time of the check."""
    rationale_id: str = ""
    """Set when the verdict is stored; empty in the result of `check_answer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLabel:
    """A label of one step from one source; several sources may label the same step."""

    rationale_id: str
    step: int
    """0-based index into `Rationale.steps`."""
    value: float
    """Probability that the step is right, in [0, 1]."""
    rating: int | None
    """A human's -1, 0 or 1 where there is one."""
    source: str
    """`human`, `symbolic`, `monte_carlo`, `near_miss`, `judge`, `consensus`, or `unknown` where a file does not say."""
    n_rollouts: int = 0
    """Rollouts behind a `monte_carlo` value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScores:
    """What a PRM said about every step of one rationale."""

    rationale_id: str
    scores: tuple[float, ...]
    """One probability a step, in [0, 1]."""
    scorer: str
    """Name of the PRM."""
    revision: str
    """Hash of its weights."""
