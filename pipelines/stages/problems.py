"""The first stage: read the problems, set bad rows aside, keep training and test problems apart.

Bad rows go to `rejects.jsonl` with file, line and reason. Above a stated share the run stops here, before anything is
spent. A training problem whose text is also a test problem is rejected as `in_test`.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from data.errors import InputError
from data.ids import content_id, derive_seed
from data.records import Problem
from data.sources import Reject, deduplicate, read_problems
from data.sources.reading import find_files
from data.store import sha256_of, write_atomic
from pipelines.progress import say
from pipelines.recipe import Recipe, SourceConfig
from pipelines.run_dir import RunFolder


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source gave."""

    config: SourceConfig
    problems: list[Problem]
    rejects: list[Reject]
    n_rows: int
    """Rows read, before `limit`."""


def read_source(config: SourceConfig, seed: int) -> Reading:
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
    n_rows = len(problems) + len(rejects)
    if config.limit is not None:
        problems.sort(key=lambda problem: derive_seed("limit", seed, problem.id))
        problems = problems[: config.limit]
    return Reading(config, problems, rejects, n_rows)


def read_both(recipe: Recipe) -> tuple[Reading, Reading]:
    """Training and test problems of a recipe, kept apart; nothing is judged yet."""
    test, train = read_source(recipe.evaluation, recipe.seed), read_source(recipe.problems, recipe.seed)
    rejects = list(train.rejects)
    problems = list(_without_test(train.problems, test.problems, rejects))
    return Reading(train.config, problems, rejects, train.n_rows), test


def _without_test(train: Iterable[Problem], test: Iterable[Problem], rejects: list[Reject]) -> Iterator[Problem]:
    held_out = {" ".join(problem.prompt.split()) for problem in test}
    for problem in train:
        if " ".join(problem.prompt.split()) in held_out:
            excerpt = problem.prompt[:200]
            rejects.append(Reject(where=problem.id, reason="in_test", detail="also a test problem", excerpt=excerpt))
        else:
            yield problem


def check_reading(reading: Reading, recipe: Recipe) -> None:
    """Judge what was read.

    Raises:
        InputError: too many rows are bad, none is left, or a problem cannot be checked by this version.
    """
    name, limit = reading.config.source, recipe.max_reject_share
    bad = [reject for reject in reading.rejects if reject.reason not in ("duplicate", "in_test")]
    if reading.n_rows and len(bad) / reading.n_rows > limit:
        first = f"{bad[0].where}: {bad[0].reason} {bad[0].detail}".rstrip()
        raise InputError(
            f"{name}: {len(bad)} of {reading.n_rows} rows are unusable (limit {limit:.0%}); the first: {first}.",
            "Mend the file, or raise `max_reject_share`.",
        )
    if not reading.problems:
        reasons = ", ".join(f"{reason} {count}" for reason, count in count_rejects(reading).items())
        raise InputError(f"{name}: no usable problem is left ({reasons or 'none was read'}).", "Mend the input.")


def count_rejects(*readings: Reading) -> dict[str, int]:
    """Rejected rows by reason."""
    return dict(Counter(reject.reason for reading in readings for reject in reading.rejects))


def _source_key(config: SourceConfig, seed: int) -> str:
    """What the problems are read from: the config, and the content of local files."""
    files = find_files(config.path) if config.path else []
    return content_id("problems", config.model_dump_json(), str(seed), *(sha256_of(file) for file in files))


def load_problems(run: RunFolder, recipe: Recipe) -> tuple[list[Problem], list[Problem]]:
    """Training and test problems of a run, read once.

    Raises:
        InputError: a source cannot be read, or `check_reading` objects.
        RunFolderError: a local file changed since the run began.
    """
    test_key = _source_key(recipe.evaluation, recipe.seed)
    train_key = content_id(_source_key(recipe.problems, recipe.seed), test_key)
    run.pin(problems=train_key, evaluation=test_key)
    train: list[Problem] = []
    test: list[Problem] = []
    with run.stage("problems"):
        if not (run.has_unit("problems", "train", train_key) and run.has_unit("problems", "test", test_key)):
            train, test = _read_and_check(run, recipe)
        return (
            run.unit("problems", "train", train_key, lambda: train),
            run.unit("problems", "test", test_key, lambda: test),
        )


def _read_and_check(run: RunFolder, recipe: Recipe) -> tuple[list[Problem], list[Problem]]:
    readings = read_both(recipe)
    lines = (json.dumps(asdict(reject)) + "\n" for reading in readings for reject in reading.rejects)
    # Before the checks: a user whose run is refused needs the list most.
    write_atomic(run.root / "rejects.jsonl", "".join(lines).encode())
    run.note("rejects", count_rejects(*readings))
    counts = ", ".join(f"{reason} {count}" for reason, count in count_rejects(*readings).items())
    if counts:
        say(f"rows set aside: {counts}; see {run.root / 'rejects.jsonl'}")
    for reading in readings:
        check_reading(reading, recipe)
    return readings[0].problems, readings[1].problems


def split_dev(problems: Sequence[Problem], recipe: Recipe) -> tuple[list[Problem], list[Problem]]:
    """Training problems proper, and those that gate, PRM and PPO are judged by; drawn by hash, empty if nobody asks."""
    config = recipe.promotion
    asked = config.gate != "always" or config.patience or recipe.prm.enabled or recipe.ppo.enabled
    share = config.dev_share if asked else 0.0
    train: list[Problem] = []
    dev: list[Problem] = []
    for problem in problems:
        drawn = random.Random(derive_seed("dev", recipe.seed, problem.id)).random() < share
        (dev if drawn else train).append(problem)
    # The last problem to train on is worth more than a gate.
    return (train, dev) if train else (dev, [])
