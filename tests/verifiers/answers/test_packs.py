"""The project's own case packs: nothing wrong is accepted, next to nothing right is refused, no text is ever run."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import Any

import pytest

from data.records import Status
from verifiers import check_answers

_EXACT = ("ascii", "latex", "tuple", "union", "matrices", "logic")
PACKS = Path(__file__).parents[1] / "packs"


def _text(recipe: Any) -> str:
    if isinstance(recipe, str):
        return recipe
    return str(recipe.get("prefix", "") + recipe["repeat"] * recipe["times"] + recipe.get("suffix", ""))


def _cases(name: str) -> list[dict[str, Any]]:
    lines = (PACKS / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    cases: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
    return [case | {side: _text(text) for side, text in case.get("build", {}).items()} for case in cases]


@pytest.mark.parametrize(("name", "most_refused"), [("hard", 5), ("hostile", 3), ("realistic", 0), ("fresh", 30)])
def test_nothing_wrong_is_accepted_and_next_to_nothing_right_is_refused(name: str, most_refused: int) -> None:
    cases = _cases(name)
    assert len(cases) > 300
    accepted, refused = [], []
    for kind in ("auto", "answer", "text", "choice"):
        some = [case for case in cases if case.get("kind", "auto") == kind]
        verdicts = check_answers([(case["gold"], case["prediction"]) for case in some], kind=kind, timeout_s=60)
        for case, verdict in zip(some, verdicts, strict=True):
            right = verdict.status is Status.CORRECT
            shown = (case["class"], case["gold"][:60], case["prediction"][-60:], verdict.method, verdict.detail)
            if right and not case["correct"]:
                accepted.append(shown)
            elif case["correct"] and not right:
                refused.append(shown)
    assert accepted == []
    assert len(refused) <= most_refused, refused
    assert glob.glob("/tmp/stepstar_sentinel_*") == []


def test_what_is_accepted_in_one_direction_is_accepted_in_the_other() -> None:
    """Equality of exact answers is symmetric; decimals, percent and units have a direction."""
    cases = [case for case in _cases("hard") if case.get("kind", "auto") == "auto" and "build" not in case]
    # Digits that may be rounded make a gold of them lenient and a prediction not; sentences are no golds.
    cases = [
        case for case in cases if case["class"].startswith(("ascii", "latex", "tuple", "union", "matrices", "logic"))
    ]
    cases = [case for case in cases if "." not in case["gold"] + case["prediction"]]
    there = check_answers([(case["gold"], case["prediction"]) for case in cases], kind="answer", timeout_s=60)
    back = check_answers([(case["prediction"], case["gold"]) for case in cases], kind="answer", timeout_s=60)
    differ = [(case["gold"], case["prediction"]) for case, one, other in zip(cases, there, back, strict=True)
              if (one.status is Status.CORRECT) != (other.status is Status.CORRECT)]  # fmt: skip
    assert len(cases) > 500
    assert len(differ) <= 5, differ
