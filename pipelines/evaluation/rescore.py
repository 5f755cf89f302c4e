"""`stepstar rescore`: every stored output graded again by another policy or version, without generating anything.

The verdicts that the folder has stay as they are. The new ones go to `rescored/<policy>.parquet` beside them, and every
output whose status changed to `rescored/<policy>.jsonl`, one row each. Works shard by shard: memory holds one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from data.errors import UserError
from data.records import FinishReason, Kind, Problem, Status, Verdict
from data.schema import arrow_schema, to_table
from pipelines.evaluation.folder import refuse_unasked
from pipelines.progress import track
from pipelines.run_dir import RunFolder
from pipelines.stages.sampling import CODE_VERSION
from pipelines.stages.verification import check_texts, verification_kind
from verifiers import check_answers

_TABLES = ("evaluations", "dev_evaluations")
"""Tables whose rows hold text and verdict in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One stored output and what was said about it."""

    id: str
    """The rationale's id; of a held-out answer, unit and problem id."""
    problem_id: str
    text: str
    finish_reason: FinishReason
    status: Status
    extracted: str
    detail: str = ""


@dataclass(slots=True)
class Rescored:
    """What came of it."""

    outputs: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(old status, new status) to outputs, of those that changed."""
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    """Outputs by status."""


def rescore(root: Path, policy: str = "default") -> tuple[Rescored, Path]:
    """Grade the outputs of a run or an evaluation again.

    Args:
        root: the folder.
        policy: `default`, `strict` or `lenient`; see `verifiers.answers.policy`.

    Returns:
        Counts, and the file of differences.

    Raises:
        UserError: no such folder or policy, or nothing was stored yet.
    """
    run = RunFolder.read(root)
    problems = {problem.id: problem for problem in run.table("problems")}
    units = sorted(unit for unit in run.manifest["shards"] if _is_graded(unit, run))
    if not units:
        raise UserError(f"'{root}' has no checked outputs.", "Give the folder of a run or an evaluation.")
    # A bad policy is refused before anything is written.
    check_answers([], policy=policy)
    differences = root / "rescored" / f"{policy}.jsonl"
    differences.parent.mkdir(exist_ok=True)
    found, partial = Rescored(), differences.with_name(f".{differences.name}.partial")
    with (
        partial.open("w", encoding="utf-8") as stream,
        _verdict_file(differences.with_suffix(".parquet")) as verdicts,
        track(f"rescore · {policy}", sum(run.manifest["shards"][unit]["rows"] for unit in units)) as bar,
    ):
        for unit in units:
            outputs = list(_outputs(run, unit))
            refuse_unasked(root, (output.problem_id for output in outputs), problems)
            new = grade(outputs, problems, policy)
            _compare(outputs, new, problems, found, stream)
            verdicts.write_table(to_table(Verdict, new))
            bar.advance(len(outputs), f"{found.changes.total()} changed")
    partial.replace(differences)
    return found, differences


@contextmanager
def _verdict_file(file: Path) -> Iterator[Any]:
    """A writer of verdicts shard by shard; the file is there when all are in it."""
    import pyarrow.parquet as pq

    partial = file.with_name(f".{file.name}.partial")
    with pq.ParquetWriter(partial, arrow_schema(Verdict), compression="zstd") as writer:
        yield writer
    partial.replace(file)


def _is_graded(unit: str, run: RunFolder) -> bool:
    table, _, name = unit.partition("/")
    return table in _TABLES or (table == "rationales" and f"verdicts/{name}" in run.manifest["shards"])


def _outputs(run: RunFolder, unit: str) -> Iterator[Output]:
    table, _, name = unit.partition("/")
    if table in _TABLES:
        for row in run.table(table, name):
            yield Output(id=f"{name}/{row.problem_id}", problem_id=row.problem_id, text=row.text,
                         finish_reason=row.finish_reason, status=row.status, extracted=row.extracted)  # fmt: skip
        return
    verdicts = {row.rationale_id: row for row in run.table("verdicts", name)}
    for row in run.table("rationales", name):
        verdict = verdicts[row.id]
        yield Output(id=row.id, problem_id=row.problem_id, text=row.text, finish_reason=row.finish_reason,
                     status=verdict.status, extracted=verdict.extracted, detail=verdict.detail)  # fmt: skip


def grade(outputs: Sequence[Output], problems: dict[str, Problem], policy: str) -> list[Verdict]:
    """New verdicts, one for each output. Programs run again; a policy says nothing about them."""
    owners = [problems[output.problem_id] for output in outputs]
    found: dict[int, Verdict] = {}
    for kind in Kind:
        places = [place for place, owner in enumerate(owners)
                  if owner.kind is kind and outputs[place].finish_reason is not FinishReason.ERROR]  # fmt: skip
        if kind is not Kind.CODE:
            pairs = [(owners[place].answer, outputs[place].text) for place in places]
            checked = check_answers(pairs, kind=verification_kind(kind), policy=policy)
            found |= zip(places, checked, strict=True)
    rest = [place for place in range(len(outputs)) if place not in found]
    # Programs, and what the engine failed on.
    texts, reasons = [outputs[place].text for place in rest], [outputs[place].finish_reason for place in rest]
    found |= zip(rest, check_texts([owners[place] for place in rest], texts, reasons), strict=True)
    return [replace(found[place], rationale_id=output.id) for place, output in enumerate(outputs)]


def _compare(
    outputs: Sequence[Output], new: Sequence[Verdict], problems: dict[str, Problem], found: Rescored, stream: IO[str]
) -> None:
    for output, verdict in zip(outputs, new, strict=True):
        found.outputs += 1
        found.before[output.status] += 1
        found.after[verdict.status] += 1
        if verdict.status is output.status:
            continue
        found.changes[output.status, verdict.status] += 1
        problem = problems[output.problem_id]
        row = {
            "id": output.id, "problem_id": problem.id, "gold": problem.answer,
            "old": output.status, "old_extracted": output.extracted, "old_detail": output.detail,
            "new": verdict.status, "new_extracted": verdict.extracted, "new_method": verdict.method,
            "new_detail": verdict.detail, "problem": problem.prompt, "text": output.text,
        }  # fmt: skip
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def rescored_lines(found: Rescored, differences: Path) -> Iterator[str]:
    """What is printed."""
    yield f"{found.outputs} outputs graded again by stepstar {CODE_VERSION}; {found.changes.total()} changed"
    for status in Status:
        before, after = found.before[status], found.after[status]
        if before or after:
            yield f"  {status.replace('_', ' '):10} {before:>8} -> {after:>8}  ({after - before:+d})"
    for (old, new), count in found.changes.most_common():
        yield f"  {count} from {old.replace('_', ' ')} to {new.replace('_', ' ')}"
    yield f"differences {differences}"
    yield f"verdicts    {differences.with_suffix('.parquet')}"
