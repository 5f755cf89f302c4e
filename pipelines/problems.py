"""The first stage: read the problems, set bad rows aside, keep training and test problems apart.

Bad rows go to `rejects.jsonl` with file, line and reason. Above a stated share the run stops here, before anything is
spent. A training problem whose text is also a test problem is rejected as `in_test`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from data.errors import InputError
from data.ids import content_id, derive_seed
from data.records import Kind, Problem
from data.sources import Reject, deduplicate, read_problems
from data.store import sha256_of, write_atomic
from pipelines.recipe import Recipe, SourceConfig
from pipelines.run_dir import RunFolder


def read_source(config: SourceConfig, seed: int) -> tuple[list[Problem], list[Reject]]:
    """Problems and rejects of one source, duplicates removed, `limit` drawn by hash."""
    problems: list[Problem] = []
    rejects: list[Reject] = []
    stream = read_problems(
        config.source,
        path=config.path,
        split=config.split,
        columns=config.columns or None,
        options=config.options or None,
    )
    for item in deduplicate(stream):
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            problems.append(item)
    if config.limit is not None:
        problems.sort(key=lambda problem: derive_seed("limit", seed, problem.id))
        problems = problems[: config.limit]
    return problems, rejects


def _source_key(config: SourceConfig, seed: int) -> str:
    """What the problems were read from: the config, and the content of a local file."""
    file = Path(config.path)
    content = sha256_of(file) if config.path and file.is_file() else ""
    return content_id("problems", config.model_dump_json(), content, str(seed))


def _without_test(train: Iterable[Problem], test: Iterable[Problem], rejects: list[Reject]) -> Iterator[Problem]:
    held_out = {" ".join(problem.prompt.split()) for problem in test}
    for problem in train:
        if " ".join(problem.prompt.split()) in held_out:
            rejects.append(
                Reject(
                    where=problem.source, reason="in_test", detail="also a test problem", excerpt=problem.prompt[:200]
                )
            )
        else:
            yield problem


def load_problems(run: RunFolder, recipe: Recipe) -> tuple[list[Problem], list[Problem]]:
    """Training and test problems of a run, read once.

    Raises:
        InputError: a source cannot be read, too many rows are bad, or a problem cannot be checked by this version.
    """
    keys = _source_key(recipe.problems, recipe.seed), _source_key(recipe.evaluation, recipe.seed)
    train_key, test_key = content_id(*keys), keys[1]
    if not (run.has_unit("problems", "train", train_key) and run.has_unit("problems", "test", test_key)):
        train, test = _read_both(run, recipe)
    else:
        train, test = [], []
    with run.stage("problems") as counts:
        train = run.unit("problems", "train", train_key, lambda: train)
        test = run.unit("problems", "test", test_key, lambda: test)
        counts["problems"] = 0
    return train, test


def _read_both(run: RunFolder, recipe: Recipe) -> tuple[list[Problem], list[Problem]]:
    test, test_rejects = read_source(recipe.evaluation, recipe.seed)
    train, rejects = read_source(recipe.problems, recipe.seed)
    n_read = len(train) + len(rejects)
    _check_share(recipe.evaluation, len(test) + len(test_rejects), test_rejects, recipe.max_reject_share, run)
    _check_share(recipe.problems, n_read, rejects, recipe.max_reject_share, run)
    train = list(_without_test(train, test, rejects))
    every = rejects + test_rejects
    lines = (json.dumps(asdict(reject), ensure_ascii=True) for reject in every)
    write_atomic(run.root / "rejects.jsonl", "".join(line + "\n" for line in lines).encode())
    run.note("rejects", dict(Counter(reject.reason for reject in every)))
    for problems, what in ((train, recipe.problems), (test, recipe.evaluation)):
        _check_usable(problems, what)
    return train, test


def _check_share(config: SourceConfig, n_read: int, rejects: list[Reject], limit: float, run: RunFolder) -> None:
    bad = [reject for reject in rejects if reject.reason != "duplicate"]
    if n_read and len(bad) / n_read > limit:
        first = bad[0]
        raise InputError(
            f"{config.source}: {len(bad)} of {n_read} rows are unusable (limit {limit:.0%}); the first: "
            f"{first.where}: {first.reason} {first.detail}".rstrip()
            + ".",
            "Mend the file, or raise `max_reject_share`.",
        )


def _check_usable(problems: list[Problem], config: SourceConfig) -> None:
    if not problems:
        raise InputError(f"{config.source}: no usable problem is left.", "See rejects.jsonl in the run folder.")
    if any(problem.kind is Kind.CODE for problem in problems):
        raise InputError(
            f"{config.source}: problems that are checked by running code cannot be used yet.",
            "Use a source with answers, such as gsm8k.",
        )
