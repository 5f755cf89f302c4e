"""The rows of each export layout, made from a run's records; what a layout cannot express is left out and counted.

The right solutions are those of the run's dataset, so what is in quarantine is not among them. Steps without a label at
the end of a solution (such as its bare answer line) are no reason to leave it out: they are cut off or go to the tail.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any, Literal

from data.errors import InputError
from data.exports.card import Contents
from data.exports.writing import Keyed
from data.ids import derive_seed
from data.lineage import row_node
from data.prompts import PromptTemplate
from data.records import FinishReason, Kind, Problem, Rationale, Status
from data.sources.base import RowError
from pipelines.curation.lineage import quarantined_nodes
from pipelines.run_dir import RunFolder
from pipelines.stages.arm import STAR
from pipelines.stages.dataset import dataset_rows, near_miss_rows
from prm.labels import FORMATS, LabelledSolution
from verifiers import check_answers

Values = Literal["labels", "scores"]
Objection = Callable[[str, str], str]
"""From a problem's text and a solution's to the reason to leave the row out, or nothing."""

_LABEL_FORMATS = {"stepwise": "trl", "prm800k": "prm800k", "math_shepherd": "math_shepherd"}


@dataclass(slots=True)
class ExportRows:
    """Makes rows and counts what goes in."""

    run: RunFolder
    values: Values = "labels"
    """What the value of a step is: its label, or the score of the run's PRM."""
    objection: Objection = lambda problem, text: ""
    contents: Contents = field(default_factory=Contents)

    def main(self, name: str) -> Iterator[Keyed]:
        """The rows of a layout."""
        makers = {
            "messages": self._messages,
            "prompt_completion": self._completions,
            "preference": self._preferences,
            "verl": self._verl,
            "openrlhf": self._openrlhf,
        }
        return makers[name]() if name in makers else self._labelled(name)

    def step_rewards(self) -> Iterator[Keyed]:
        """Dense rewards: the value of each step and where it ends in the response."""
        prompts = self._prompts()
        right = ((row, Status.CORRECT) for row in dataset_rows(self.run, STAR))
        for row, status in chain(right, self._near_misses()):
            if self._objects(row):
                continue
            self._count(row)
            made = {
                **_identity(row),
                "prompt": prompts[row["problem_id"]],
                "response": "".join(row["steps"]),
                "outcome": {Status.CORRECT: 1.0, Status.INCORRECT: 0.0}.get(status),
                "step_ends": list(accumulate(map(len, row["steps"]))),
                "step_values": self._step_values(row),
            }
            yield row["problem"], made

    def _prompts(self) -> dict[str, str]:
        """Problem id to the prompt as the generator saw it, without the hint.

        Raises:
            InputError: the template is no longer the run's.
        """
        template = PromptTemplate(self.run.recipe.prompt)
        if self.run.manifest["pins"].get("template", template.hash()) != template.hash():
            raise InputError(f"the prompt template '{template.name}' has changed since the run.", "Restore it.")
        return {problem.id: template.render(problem) for problem in self.run.table("problems", "train")}

    def _right(self) -> Iterator[dict[str, Any]]:
        """The rows of the dataset that nobody objects to, counted."""
        for row in dataset_rows(self.run, STAR):
            if not self._objects(row):
                self._count(row)
                yield row

    def _messages(self) -> Iterator[Keyed]:
        for problem, row in self._completions():
            turns = [("user", row["prompt"]), ("assistant", row["completion"])]
            messages = [{"role": role, "content": content} for role, content in turns]
            yield problem, {"messages": messages, **_identity(row)}

    def _completions(self) -> Iterator[Keyed]:
        prompts = self._prompts()
        for row in self._right():
            texts = {"prompt": prompts[row["problem_id"]], "completion": "".join(row["steps"])}
            yield row["problem"], texts | _identity(row)

    def _labelled(self, name: str) -> Iterator[Keyed]:
        layout = FORMATS[_LABEL_FORMATS[name]]
        near_misses = [] if self.values == "scores" else near_miss_rows(self.run)
        for row in chain(dataset_rows(self.run, STAR), near_misses):
            if self._objects(row):
                continue
            try:
                made = layout.render([self._solution(row, name)])
            except RowError as error:
                self.contents.dropped[error.reason] += 1
                continue
            self._count(row)
            # The schemas of others are kept to the letter.
            yield row["problem"], made | _identity(row) if name == "stepwise" else made

    def _solution(self, row: Mapping[str, Any], name: str) -> LabelledSolution:
        """A row with its steps up to the last one that has a value.

        Raises:
            RowError: none has, or a step is empty.
        """
        values = self._step_values(row)
        end = max((place for place, value in enumerate(values, 1) if value is not None), default=0)
        if not end:
            raise RowError("no_label", "no step has a value")
        steps = [step.strip() for step in row["steps"]]
        return LabelledSolution(
            problem=row["problem"],
            steps=tuple(steps[:end]),
            values=tuple(values[:end]),
            tail=() if name == "stepwise" else tuple(steps[end:]),
            source="symbolic" if self.values == "labels" else "judge",
            row_id=row["id"],
            gold=row["answer"],
            generator=row["source"],
        )

    def _near_misses(self) -> Iterator[tuple[dict[str, Any], Status]]:
        """The near-misses, and what their final answers come to: some slips cancel out."""
        rows = list(near_miss_rows(self.run))
        verdicts = check_answers([(row["answer"], row["final_answer"]) for row in rows], kind="answer")
        return zip(rows, (verdict.status for verdict in verdicts), strict=True)

    def _step_values(self, row: Mapping[str, Any]) -> list[float | None]:
        if self.values == "labels":
            return list(row["step_labels"])
        return list(row.get("step_scores") or [None] * len(row["steps"]))

    def _preferences(self) -> Iterator[Keyed]:
        prompts, wrong, slips = self._prompts(), self._wrong(), defaultdict(list)
        for row, status in self._near_misses():
            if status is Status.INCORRECT:
                slips[row["parent_id"]].append((row["id"], "".join(row["steps"]), "corrupted"))
        for row in self._right():
            samples = wrong[row["problem_id"]]
            # Each wrong sample once: a problem with one of them and many right ones would weigh too much.
            for rejected_id, text, origin in [*samples[:1], *slips[row["id"]]]:
                made = {
                    **_identity(row),
                    "prompt": prompts[row["problem_id"]],
                    "chosen": "".join(row["steps"]),
                    "rejected": text,
                    "rejected_id": rejected_id,
                    "rejected_origin": origin,
                }
                yield row["problem"], made
            del samples[:1]

    def _wrong(self) -> dict[str, list[tuple[str, str, str]]]:
        """Problem id to its wrong samples, each text once, in an order drawn by hash: id, text and origin."""
        bad = quarantined_nodes(self.run)
        wrong = {row.rationale_id for row in self.run.table("verdicts", f"{STAR}-") if row.status is Status.INCORRECT}
        found: dict[str, dict[str, Rationale]] = defaultdict(dict)
        for row in self.run.table("rationales", f"{STAR}-"):
            # A text that was cut off is not wrong, it is unfinished.
            if row.id in wrong and row.finish_reason is FinishReason.STOP and row_node(row.id) not in bad:
                found[row.problem_id].setdefault(row.text, row)
        return defaultdict(list, {
            problem_id: [(row.id, text, str(row.origin)) for text, row in
                         sorted(texts.items(), key=lambda item: derive_seed("rejected", item[1].id))]
            for problem_id, texts in found.items()
        })  # fmt: skip

    def _problems(self) -> Iterator[tuple[Problem, str]]:
        """The training problems and their prompts."""
        prompts, bad = self._prompts(), quarantined_nodes(self.run)
        for problem in self.run.table("problems", "train"):
            why = "quarantine" if f"problem:{problem.id}" in bad else self.objection(problem.prompt, "")
            if why:
                self.contents.dropped[why] += 1
                continue
            self.contents.problems.add(problem.id)
            self.contents.origins.update([("source", problem.source), ("licence", problem.licence)])
            yield problem, prompts[problem.id]

    def _verl(self) -> Iterator[Keyed]:
        for place, (problem, prompt) in enumerate(self._problems()):
            yield problem.prompt, {
                "data_source": problem.source,
                "prompt": [{"role": "user", "content": prompt}],
                "ability": str(problem.kind),
                "reward_model": {"style": "rule", "ground_truth": _ground_truth(problem)},
                "extra_info": {
                    "index": place, "problem_id": problem.id, "kind": str(problem.kind), "problem": problem.prompt
                },
            }  # fmt: skip

    def _openrlhf(self) -> Iterator[Keyed]:
        for problem, prompt in self._problems():
            # It passes the label alone to the reward function, as text.
            label = {"kind": str(problem.kind), "ground_truth": _ground_truth(problem), "problem": problem.prompt}
            yield problem.prompt, {
                "input": prompt, "label": json.dumps(label, ensure_ascii=False), "datasource": problem.source
            }  # fmt: skip

    def _objects(self, row: Mapping[str, Any]) -> bool:
        why = self.objection(row["problem"], "".join(row["steps"]))
        if why:
            self.contents.dropped[why] += 1
        return bool(why)

    def _count(self, row: Mapping[str, Any]) -> None:
        contents = self.contents
        contents.problems.add(row["problem_id"])
        contents.origins.update([(name, row[name]) for name in ("source", "licence")])
        contents.origins["origin", row.get("origin", "corrupted")] += 1
        if "model" in row:
            contents.origins["round", str(row["round"])] += 1
            contents.models[row["model"], row["model_revision"], row["sampling"]] += 1


def _identity(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "problem_id", "source")} | {"origin": row.get("origin", "corrupted")}


def _ground_truth(problem: Problem) -> str:
    return problem.tests if problem.kind is Kind.CODE else problem.answer
