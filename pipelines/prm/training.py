"""`stepstar train-prm`: from label files to a PRM folder; run again it resumes, to the bit.

What is not yet a PRM lies beside it, in `FOLDER.training`: the settings and the training's state, which also is locked
by one process. It goes when the PRM is whole, in which `training.json` says what made it.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import RunFolderError, UserError
from data.ids import content_id
from data.sources.reading import short_names
from data.store import sha256_of, write_atomic
from pipelines.prm.label_files import Unusable, read_label_rows
from pipelines.prm.labelling import label_kind
from pipelines.prm.samples import read_samples
from pipelines.prm.settings import PrmSettings
from pipelines.progress import say, track
from pipelines.run_guard import as_json, refuse_differences
from prm.labels import LabelledSolution, Prm800kConverter
from prm.model_config import FILE

if TYPE_CHECKING:
    from prm.evaluation import BestOfN
    from prm.model import LoadedPrm
    from prm.training import PrmTrainingReport
    from prm.training_fit import Sample
    from prm.training_rows import TrainingRow

RECORD = "training.json"
STATE = "state.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrmJob:
    """What is to be trained on, from where, to where."""

    labels: Sequence[Path]
    base: str
    out: Path
    settings: PrmSettings
    format: str = "auto"
    samples: Path | None = None
    """Several checked samples of each of some problems: the aggregation is chosen, and the PRM blessed, on them."""
    fresh: bool = False

    @property
    def work(self) -> Path:
        """The folder of an unfinished training."""
        return self.out.with_name(f"{self.out.name}.training")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrmReport:
    """What a training came to."""

    training: PrmTrainingReport
    best_of_n: BestOfN | None
    loaded: LoadedPrm


def train_prm_folder(job: PrmJob) -> PrmReport | None:
    """Train a PRM and save it; None if it is there already.

    Raises:
        UserError: labels, base model, folder or settings are not usable.
    """
    solutions, samples = read_all_labels(job), _read_candidates(job)
    record = _record(job)
    if _is_done(job, record):
        return None
    import torch

    if job.settings.threads:
        torch.set_num_threads(job.settings.threads)
    from prm.model import build_prm, save_prm
    from prm.training_fit import fit_prm
    from star.checkpoints import resolve

    train, dev = _split(job, solutions, samples)
    loaded = build_prm(resolve(job.base), job.settings.form(), job.settings.encoder, seed=job.settings.seed)
    loaded.config = loaded.config.model_copy(update={"data": record["labels"], "base_model": job.base})
    rows, held = _rows(job, loaded, train, dev)
    with _work_folder(job, record | {"base_revision": loaded.config.base_revision}):
        training = _train(job, loaded, rows, held, key=content_id(json.dumps(record)))
        # An outcome model's scores of single steps mean nothing: nothing is read off them.
        chosen = fit_prm(loaded, dev if job.settings.target == "steps" else [], samples)
        save_prm(loaded, job.out)
        write_atomic(job.out / RECORD, as_json(record))
        shutil.rmtree(job.work)
    return PrmReport(training=training, best_of_n=chosen, loaded=loaded)


def _train(
    job: PrmJob, loaded: LoadedPrm, rows: Sequence[TrainingRow], dev: Sequence[TrainingRow], *, key: str
) -> PrmTrainingReport:
    from prm.training import train_prm
    from prm.training_state import TrainingState

    config = job.settings.training()
    state = TrainingState(job.work / STATE, key=key, every_s=config.save_every_s)
    with track("train", config.steps) as tracker:
        return train_prm(
            loaded,
            rows,
            config,
            seed=job.settings.seed,
            dev=dev,
            state=state,
            on_step=lambda step, _, loss: tracker.reach(step, f"loss {loss:.3f}"),
        )


def read_all_labels(job: PrmJob) -> list[LabelledSolution]:
    """The labelled solutions of all files; the ledger is told.

    Raises:
        InputError: a file cannot be read, or too many of its rows cannot be used.
    """
    found: list[LabelledSolution] = []
    for file in job.labels:
        unusable, converter = Unusable(), Prm800kConverter(job.settings.prm800k())
        n_rows = before = len(found)
        for _, solutions in read_label_rows(str(file), job.format, unusable, converter):
            found += solutions
            n_rows += 1
        unusable.check(n_rows - before, job.settings.max_reject_share)
        say(f"{file}: {len(found) - before} labelled solutions of {n_rows - before} rows{_told(unusable.reasons)}")
        if converter.ledger.completions:
            say(f"  PRM800K lines {dict(converter.ledger.lines)}, steps {dict(converter.ledger.completions)}")
    steps = Counter(label_kind(value) for one in found for value in one.values)
    say(f"{steps['right']} steps are right, {steps['wrong']} wrong, {steps['unlabelled']} unlabelled")
    return found


def _told(reasons: Counter[str]) -> str:
    return "".join(f", {number} left out: {reason}" for reason, number in reasons.most_common())


def _record(job: PrmJob) -> dict[str, Any]:
    """What the PRM depends on, in JSON."""
    import torch

    files = [*job.labels, *([job.samples] if job.samples else [])]
    hashes = {name: sha256_of(file)[:16] for name, file in zip(short_names(files), files, strict=True)}
    settings = job.settings.model_dump(mode="json") | {"threads": job.settings.threads or torch.get_num_threads()}
    return {"base": job.base, "labels": hashes, "settings": settings}


def _is_done(job: PrmJob, record: dict[str, Any]) -> bool:
    """Whether the folder holds this very PRM.

    Raises:
        RunFolderError: it holds another one, or something else.
    """
    if job.out.is_file():
        raise RunFolderError(f"'{job.out}' is a file.", "Choose a folder with --out.")
    if job.fresh:
        if job.out.exists() and any(job.out.iterdir()) and not (job.out / FILE).is_file():
            raise RunFolderError(f"'{job.out}' holds something that is no PRM.", "Choose another folder with --out.")
        shutil.rmtree(job.work, ignore_errors=True)
        return False
    if (job.out / RECORD).is_file():
        refuse_differences(job.out, json.loads((job.out / RECORD).read_text(encoding="utf-8")), record, "training")
        return True
    if job.out.exists() and any(job.out.iterdir()) and not job.work.exists():
        raise RunFolderError(f"'{job.out}' is not empty.", "Choose another folder with --out.")
    return False


@contextmanager
def _work_folder(job: PrmJob, record: dict[str, Any]) -> Iterator[None]:
    """Hold the work folder, new or that of the same training; the lock dies with the process.

    Raises:
        RunFolderError: another process, or another training, has it.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    with (job.work / ".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(f"another process trains '{job.out}'.", "Wait, or choose another --out.") from None
        # Where nothing was computed yet, say because the loss was no number, corrected settings are taken.
        if (job.work / STATE).is_file():
            known = json.loads((job.work / RECORD).read_text(encoding="utf-8"))
            refuse_differences(job.work, known, record, "training")
            say(f"going on with '{job.work}'")
        write_atomic(job.work / RECORD, as_json(record))
        yield


def _read_candidates(job: PrmJob) -> list[list[Sample]]:
    if not job.samples:
        return []
    unusable = Unusable()
    groups = read_samples(job.samples, [], unusable)
    unusable.check(len(groups), job.settings.max_reject_share)
    return [[one.sample for one in group] for group in groups]


def _split(
    job: PrmJob, solutions: Sequence[LabelledSolution], samples: Sequence[Sequence[Sample]]
) -> tuple[list[LabelledSolution], list[LabelledSolution]]:
    """Training and dev solutions, by problem; a problem whose samples are chosen from is not trained on."""
    from prm.training_rows import split_by_problem

    chosen = {one.problem for group in samples for one in group}
    train, dev = split_by_problem(solutions, job.settings.dev_share, seed=job.settings.seed)
    kept = [one for one in train if one.problem not in chosen]
    if len(kept) < len(train):
        say(f"{len(train) - len(kept)} solutions are left out: their problems are those of the samples")
    if job.settings.dev_share and not dev:
        raise UserError("no problem fell to the dev part.", "Give more problems, dev_share=0.3, or dev_share=0.")
    problems = [len({one.problem for one in part}) for part in (kept, dev)]
    say(f"train {len(kept)} solutions of {problems[0]} problems, dev {len(dev)} of {problems[1]}")
    return kept, dev


def _rows(
    job: PrmJob, loaded: LoadedPrm, train: Sequence[LabelledSolution], dev: Sequence[LabelledSolution]
) -> tuple[list[TrainingRow], list[TrainingRow]]:
    from prm.training_rows import prepare_rows

    counts: Counter[str] = Counter()
    config, classes = job.settings.training(), job.settings.form().classes
    rows, held = (prepare_rows(loaded.encoder, part, config, counts, n_classes=classes) for part in (train, dev))
    del counts["encoded"]
    if counts:
        say(f"not trained on: {dict(counts)}")
    if not rows:
        raise UserError(f"nothing to train on: {dict(counts) or 'no labels'}.", "Look at labels and encoder settings.")
    return rows, held
