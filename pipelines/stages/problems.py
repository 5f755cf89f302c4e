"""The first stage: read the problems, set bad rows aside, keep training and test problems apart.

Bad rows go to `rejects.jsonl` with file, line and reason. Above a stated share the run stops here, before anything is
spent. A training problem whose text is also a test problem is rejected as `in_test`. Sources are read as streams and
problems stored in shards, so memory does not grow with their number but for a hash each.
"""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace

from data.batching import batched
from data.errors import InputError, UserError
from data.ids import content_id, derive_seed
from data.records import Problem
from data.sources import Reject, deduplicate, read_problems
from data.sources.reading import find_files
from data.store import sha256_of
from pipelines.progress import say
from pipelines.recipe import Recipe, SourceConfig
from pipelines.run_dir import RunFolder
from pipelines.stages.sampling import Problems

SHARD = 5000
"""Problems of one stored shard."""
_SIZES = "problems"
"""Note with the number of stored problems of each split."""
_SHOWN = 5
"""Rejects that are kept to be shown."""
_NOT_BAD = ("duplicate", "in_test")
"""Reasons that say nothing against a row."""


@dataclass(slots=True)
class Reading:
    """One source while it is read, and what it gave."""

    config: SourceConfig
    n_rows: int = 0
    """Rows read, before `limit`."""
    n_problems: int = 0
    """Usable ones, after `limit`."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Rejected rows by reason."""
    rejects: list[Reject] = field(default_factory=list)
    """The first few of them."""
    first_bad: Reject | None = None
    """The first one that is wrong in itself."""
    problems: list[Problem] = field(default_factory=list)
    """For `read_source` and `read_both`; a stream leaves it empty."""

    def stream(
        self, seed: int, held_out: Collection[int] = (), on_reject: Callable[[Reject], None] = lambda reject: None
    ) -> Iterator[Problem]:
        """Usable problems, duplicates and those of `held_out` (hashes of prompts) removed, `limit` drawn by hash."""
        config = self.config
        rows = read_problems(
            config.source,
            path=config.path,
            split=config.split,
            columns=config.columns or None,
            options=config.options or None,
        )
        items = _apart(deduplicate(rows), held_out)
        for problem in _limited(self._counted(items, on_reject), config.limit, seed):
            self.n_problems += 1
            yield problem

    def _counted(self, items: Iterable[Problem | Reject], on_reject: Callable[[Reject], None]) -> Iterator[Problem]:
        for item in items:
            self.n_rows += 1
            if isinstance(item, Problem):
                yield item
                continue
            self.rejected[item.reason] += 1
            if len(self.rejects) < _SHOWN:
                self.rejects.append(item)
            if item.reason not in _NOT_BAD:
                self.first_bad = self.first_bad or item
            on_reject(item)


def _prompt_hash(prompt: str) -> int:
    return int(content_id(" ".join(prompt.split())), 16)


def _apart(items: Iterable[Problem | Reject], held_out: Collection[int]) -> Iterator[Problem | Reject]:
    for item in items:
        if isinstance(item, Problem) and _prompt_hash(item.prompt) in held_out:
            yield Reject(where=item.id, reason="in_test", detail="also a test problem", excerpt=item.prompt[:200])
        else:
            yield item


def _limited(problems: Iterable[Problem], limit: int | None, seed: int) -> Iterator[Problem]:
    """Problems drawn by hash; no more than `limit` are in memory."""
    if limit is None:
        yield from problems
    else:
        yield from heapq.nsmallest(limit, problems, key=lambda problem: derive_seed("limit", seed, problem.id))


def read_source(config: SourceConfig, seed: int, held_out: Collection[int] = ()) -> Reading:
    """All problems of one source, in memory."""
    reading = Reading(config)
    reading.problems += reading.stream(seed, held_out)
    return reading


def read_both(recipe: Recipe) -> tuple[Reading, Reading]:
    """Training and test problems of a recipe, kept apart, in memory; nothing is judged yet."""
    test = read_source(recipe.evaluation, recipe.seed)
    held_out = {_prompt_hash(problem.prompt) for problem in test.problems}
    return read_source(recipe.problems, recipe.seed, held_out), test


def check_reading(reading: Reading, recipe: Recipe) -> None:
    """Judge what was read.

    Raises:
        InputError: too many rows are bad, none is left, or a problem cannot be checked by this version.
    """
    name, limit, first = reading.config.source, recipe.max_reject_share, reading.first_bad
    n_bad = sum(count for reason, count in reading.rejected.items() if reason not in _NOT_BAD)
    if first and n_bad / reading.n_rows > limit:
        why = f"{first.where}: {first.reason} {first.detail}".rstrip()
        raise InputError(
            f"{name}: {n_bad} of {reading.n_rows} rows are unusable (limit {limit:.0%}); the first: {why}.",
            "Mend the file, or raise `max_reject_share`.",
        )
    if not reading.n_problems:
        reasons = _listed(reading.rejected)
        raise InputError(f"{name}: no usable problem is left ({reasons or 'none was read'}).", "Mend the input.")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.items())


def _source_key(config: SourceConfig, seed: int) -> str:
    """What the problems are read from: the config, and the content of local files."""
    files = find_files(config.path) if config.path else []
    return content_id("problems", config.model_dump_json(), str(seed), *(sha256_of(file) for file in files))


@dataclass(frozen=True, slots=True)
class StoredProblems:
    """Problems of a run in the order of their source, read from its folder each time they are gone through."""

    run: RunFolder
    split: str
    """`train` or `test`."""
    n: int
    wanted: Callable[[Problem], bool] | None = None
    """Which of them; all, if it is none."""

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Problem]:
        found: Iterator[Problem] = self.run.table("problems", self.split)
        return filter(self.wanted, found) if self.wanted else found


def load_problems(run: RunFolder, recipe: Recipe) -> tuple[StoredProblems, StoredProblems]:
    """Training and test problems of a run, read once.

    Raises:
        InputError: a source cannot be read, or `check_reading` objects.
        RunFolderError: a local file changed since the run began.
    """
    test_key = _source_key(recipe.evaluation, recipe.seed)
    train_key = content_id(_source_key(recipe.problems, recipe.seed), test_key)
    run.pin(problems=train_key, evaluation=test_key)
    keys = {"test": test_key, "train": train_key}
    with run.stage("problems"):
        if not all(_is_stored(run, split, key) for split, key in keys.items()):
            _read_and_store(run, recipe, keys)
        run.drop_stale("problems")
    return stored_problems(run, "train"), stored_problems(run, "test")


def stored_problems(run: RunFolder, split: str) -> StoredProblems:
    """What a run has read of a split."""
    return StoredProblems(run, split, run.n_rows("problems", split))


def _is_stored(run: RunFolder, split: str, key: str) -> bool:
    size = run.manifest["notes"].get(_SIZES, {}).get(split, 0)
    places = range(max(1, -(-size // SHARD)))
    return all(run.has_unit("problems", f"{split}-{place:05d}", key) for place in places) and size > 0


def _read_and_store(run: RunFolder, recipe: Recipe, keys: dict[str, str]) -> None:
    """Read both sources and store what is usable; if they are refused, no shard stays but the list of rejects does."""
    readings = {"test": Reading(recipe.evaluation), "train": Reading(recipe.problems)}
    file = run.root / "rejects.jsonl"
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogatepass") as rejects:
            _store(run, recipe, readings, keys, lambda reject: print(json.dumps(asdict(reject)), file=rejects))
        # Before the checks: a user whose run is refused needs the list most.
        partial.replace(file)
        rejected = readings["train"].rejected + readings["test"].rejected
        run.note("rejects", dict(rejected))
        if rejected:
            say(f"rows set aside: {_listed(rejected)}; see {file}")
        for split in ("train", "test"):
            check_reading(readings[split], recipe)
    except UserError:
        run.forget("problems")
        raise
    run.note(_SIZES, {split: reading.n_problems for split, reading in readings.items()})


def _store(
    run: RunFolder,
    recipe: Recipe,
    readings: dict[str, Reading],
    keys: dict[str, str],
    on_reject: Callable[[Reject], None],
) -> None:
    held_out = set[int]()
    for split, reading in readings.items():
        for place, shard in enumerate(batched(reading.stream(recipe.seed, held_out, on_reject), SHARD)):
            run.unit("problems", f"{split}-{place:05d}", keys[split], shard.copy)
            if split == "test":
                held_out.update(_prompt_hash(problem.prompt) for problem in shard)


def split_dev(problems: Problems, recipe: Recipe) -> tuple[Problems, list[Problem]]:
    """Training problems proper, and those that gate, PRM and PPO are judged by; drawn by hash, empty if nobody asks."""
    config = recipe.promotion
    asked = config.gate != "always" or config.patience or recipe.prm.enabled or recipe.ppo.enabled
    share = config.dev_share if asked and recipe.sft.enabled else 0.0
    if not share:
        return problems, []

    def is_dev(problem: Problem) -> bool:
        return random.Random(derive_seed("dev", recipe.seed, problem.id)).random() < share

    dev = [problem for problem in problems if is_dev(problem)]
    n_train = len(problems) - len(dev)
    if not n_train:
        # The last problem to train on is worth more than a gate.
        return problems, []
    if isinstance(problems, StoredProblems):
        return replace(problems, n=n_train, wanted=lambda problem: not is_dev(problem)), dev
    return [problem for problem in problems if not is_dev(problem)], dev
