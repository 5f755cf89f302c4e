"""`stepstar score`: no row lost, none twice, whatever the rows hold and wherever the job is stopped."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data.errors import UserError
from pipelines.prm.scoring import ScoreJob, check_job, score_file
from pipelines.prm.solution_rows import Columns
from prm import load_scorer
from prm.model import LoadedPrm, build_prm, save_prm
from prm.scoring.local import TransformersScorer
from star.checkpoints import EMBEDDED

KILLED = Path(__file__).parents[1] / "killed_command.py"


def prm(shift: float = 0.0) -> LoadedPrm:
    """A PRM whose head says something: a new one says 1/2 to everything."""
    torch.set_num_threads(1)
    loaded = build_prm(str(EMBEDDED))
    generator = torch.Generator().manual_seed(0)
    for weight in loaded.model.head.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator) / 8 + shift)
    return loaded


@pytest.fixture(scope="module")
def scorer() -> TransformersScorer:
    return TransformersScorer(prm())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prm") / "prm"
    save_prm(prm(), place)
    return place


ROWS: list[dict[str, Any]] = [
    {
        "id": n,
        "problem": f"{n % 7 + 10}+{n}=?",
        "steps": [f"{n % 7 + 10}+{n}={n + n % 7 + 10}", "#### 3"][: 1 + n % 2],
        "more": {"a": [1, None], "é": "ü" * (n % 3)},
    }
    for n in range(23)
]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=5)
        return file
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


def read(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        return list(pq.read_table(file).to_pylist())
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return [json.loads(line) for line in content.decode().splitlines()]


def job_of(source: Path, **options: Any) -> ScoreJob:
    target = options.pop("target", source.with_name(f"out-{source.name}"))
    return ScoreJob(source=source, target=target, **({"chunk": 4} | options))


def run(job: ScoreJob, scorer: TransformersScorer) -> Counter[str]:
    return score_file(job, check_job(job), scorer)


NAMES = ("rows.jsonl", "rows.jsonl.gz", "rows.parquet")


@pytest.mark.parametrize("name", NAMES)
def test_every_row_and_column_stays_and_gets_its_own_scores(
    tmp_path: Path, scorer: TransformersScorer, name: str
) -> None:
    job = job_of(write(tmp_path / name, ROWS), aggregate="min")
    assert run(job, scorer) == {"scored": len(ROWS)}
    found = read(job.target)
    assert [{key: row[key] for key in ROWS[0]} for row in found] == ROWS
    for row in found:
        alone = scorer.score(row["problem"], row["steps"]).scores
        assert row["step_scores"] == pytest.approx(alone, abs=1e-5)
        assert row["score"] == min(row["step_scores"])
        assert row["score_error"] is None
    assert len({row["score"] for row in found}) > 5


def test_parquet_keeps_types_and_metadata(tmp_path: Path, scorer: TransformersScorer) -> None:
    schema = pa.schema(
        [
            ("problem", pa.large_string()),
            ("steps", pa.list_(pa.string())),
            ("when", pa.timestamp("us")),
            ("n", pa.int8()),
        ],
        metadata={"who": "me"},
    )
    rows = [{"problem": "1+1=?", "steps": ["1+1=2"], "when": None, "n": 3}]
    source = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), source)
    job = job_of(source)
    run(job, scorer)
    found = pq.read_schema(job.target)
    assert found.names == [*schema.names, "step_scores", "score", "score_error"]
    assert [found.field(name) for name in schema.names] == list(schema)
    assert found.metadata[b"who"] == b"me"


BAD: dict[str, tuple[str, str]] = {
    "not json": ("bad_json", "unreadable"),
    "[1, 2]": ("bad_json", "unreadable"),
    '{"problem": "1+1=?", "steps": []}': ("zero_steps", "problem"),
    '{"problem": "1+1=?", "steps": ["a", " "]}': ("empty_step", "problem"),
    '{"problem": " ", "steps": ["a"]}': ("empty_problem", "problem"),
    '{"problem": null, "steps": ["a"]}': ("missing_field", "problem"),
    '{"problem": "1+1=?"}': ("missing_field", "problem"),
    '{"problem": "1+1=?", "steps": [1]}': ("bad_field", "problem"),
    '{"problem": "1+1=?", "steps": ["\\ud800"], "x": "\\ud800"}': ("bad_utf8", "x"),
    '{"problem": "1+1=?", "steps": ["' + "1" * 5000 + '"]}': ("too_long", "problem"),
}


def test_a_row_that_cannot_be_scored_stays_with_nulls_and_the_reason(
    tmp_path: Path, scorer: TransformersScorer
) -> None:
    lines = [json.dumps(ROWS[0]), *BAD, json.dumps(ROWS[1])]
    source = tmp_path / "rows.jsonl"
    source.write_bytes("\n".join(lines).encode() + b'\n\n{"problem": "\xff"}')
    job = job_of(source)
    counts = run(job, scorer)
    first, *bad, last, not_utf8 = read(job.target)
    assert first["score"] is not None
    assert last["score"] is not None
    assert not_utf8["score_error"] == "bad_utf8"
    for row, (reason, column) in zip(bad, BAD.values(), strict=True):
        assert (row["step_scores"], row["score"], row["score_error"]) == (None, None, reason)
        assert column in row
    assert counts == Counter({"scored": 2, "bad_utf8": 1}) + Counter(reason for reason, _ in BAD.values())


def test_a_step_that_holds_the_models_separator_is_a_reason_of_its_row(tmp_path: Path) -> None:
    from prm.encode import EncoderConfig

    marked = TransformersScorer(build_prm(str(EMBEDDED), encoder=EncoderConfig(separator=" ##")))
    source = write(tmp_path / "rows.jsonl", [{"problem": "1+1=?", "steps": [step]} for step in ("a ## b", "a")])
    assert run(job_of(source), marked) == {"separator_in_step": 1, "scored": 1}


def test_a_nan_of_the_input_becomes_null_and_its_row_is_scored(tmp_path: Path, scorer: TransformersScorer) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"problem": "1+1=?", "steps": ["1+1=2"], "x": {"y": [NaN, 1]}, "z": -Infinity}\n')
    job = job_of(source)
    run(job, scorer)
    (row,) = read(job.target)
    assert row["x"] == {"y": [None, 1]}
    assert row["z"] is None
    assert row["score"] > 0


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_a_score_that_is_no_number_stops_the_job_and_is_not_written(tmp_path: Path, name: str) -> None:
    job = job_of(write(tmp_path / name, ROWS))
    with pytest.raises(UserError, match="no numbers, from row 1 on"):
        run(job, TransformersScorer(prm(shift=float("nan"))))
    assert not job.target.exists()
    assert "NaN" not in job.store.read_text()


class Stopped(TransformersScorer):
    """Stops like Ctrl-C after some chunks, and counts those that it scored."""

    chunks = 0
    limit = 10**9

    def score_batch(self, items: Any, counts: Any = None) -> Any:
        if self.chunks == self.limit:
            raise KeyboardInterrupt
        self.chunks += 1
        return super().score_batch(items, counts)


@pytest.mark.parametrize("name", NAMES)
def test_a_job_cut_at_any_byte_goes_on_to_the_same_bytes(tmp_path: Path, name: str) -> None:
    source, loaded = write(tmp_path / name, ROWS), prm()
    whole = job_of(source, target=tmp_path / f"whole-{name}")
    run(whole, TransformersScorer(loaded))
    stopped = Stopped(loaded)
    stopped.limit = 3
    job = job_of(source)
    with pytest.raises(KeyboardInterrupt):
        run(job, stopped)
    assert not job.target.exists()
    stored = job.store.read_bytes()
    ends = [at + 1 for at, byte in enumerate(stored) if byte == 10]
    assert len(ends) == 1 + 12
    for cut, kept in ((0, 0), (10, 0), (ends[0], 0), (ends[5] + 3, 4), (ends[8], 8), (len(stored) - 1, 8)):
        job.store.write_bytes(stored[:cut])
        job.target.unlink(missing_ok=True)
        again = Stopped(loaded)
        run(job, again)
        assert again.chunks == (len(ROWS) + 3) // 4 - kept // 4
        assert job.target.read_bytes() == whole.target.read_bytes()
    finished = job.store.read_bytes()
    for cut in (len(finished) - 1, len(finished) - 6, len(finished) - 7):
        job.store.write_bytes(finished[:cut])
        again = Stopped(loaded)
        run(job, again)
        assert again.chunks == 1  # The last chunk is not a full one: without the end it may be half of one.
    assert job.store.read_bytes() == whole.store.read_bytes()


def test_an_output_that_was_cut_in_half_is_made_again_without_scoring(
    tmp_path: Path, scorer: TransformersScorer
) -> None:
    job = job_of(write(tmp_path / "rows.parquet", ROWS))
    run(job, scorer)
    content = job.target.read_bytes()
    job.target.write_bytes(content[: len(content) // 2])
    again = Stopped(scorer.loaded)
    run(job, again)
    assert again.chunks == 0
    assert job.target.read_bytes() == content


def test_another_aggregation_costs_no_scoring(tmp_path: Path, scorer: TransformersScorer) -> None:
    source = write(tmp_path / "rows.jsonl", ROWS)
    run(job_of(source, aggregate="min"), scorer)
    again = Stopped(scorer.loaded)
    job = job_of(source, aggregate="last", prefix="prm_")
    run(job, again)
    assert again.chunks == 0
    assert all(row["prm_score"] == row["prm_step_scores"][-1] for row in read(job.target))


def test_kill_9_and_the_same_command_again_give_the_same_bytes(tmp_path: Path, folder: Path) -> None:
    source = write(tmp_path / "rows.jsonl", ROWS)
    whole = job_of(source)
    run(whole, load_scorer(str(folder)))
    out, environment = tmp_path / "killed.jsonl", os.environ | {"OMP_NUM_THREADS": "1"}

    def command(kill_at: int) -> subprocess.CompletedProcess[str]:
        line = ["score", str(source), "--model", str(folder), "--batch-rows", "4", "--out", str(out)]
        return subprocess.run(
            [sys.executable, str(KILLED), str(kill_at), *line],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
        )

    assert command(4).returncode == -signal.SIGKILL
    assert not out.exists()
    done = command(0)
    assert done.stdout.startswith("23 of 23 rows"), done.stderr
    # After the header and three chunks: three chunks more, the end, the output and its place.
    assert "behind row 12" in done.stderr
    assert "writes 6" in done.stderr
    assert out.read_bytes() == whole.target.read_bytes()


def test_a_text_is_cut_into_steps_and_columns_may_have_other_names(tmp_path: Path, scorer: TransformersScorer) -> None:
    source = write(tmp_path / "rows.jsonl", [{"q": "1+2=?", "a": "1+2=3\n#### 3\n"}])
    job = job_of(source, columns=Columns("q", "a"))
    run(job, scorer)
    (row,) = read(job.target)
    assert row["step_scores"] == pytest.approx(scorer.score("1+2=?", ["1+2=3", "#### 3"]).scores)


def test_scores_of_another_model_or_input_are_refused_and_fresh_drops_them(
    tmp_path: Path, folder: Path, scorer: TransformersScorer
) -> None:
    source = write(tmp_path / "rows.jsonl", ROWS[:5])
    job = job_of(source)
    run(job, scorer)
    saved = load_scorer(str(folder))
    with pytest.raises(UserError, match="another model"):
        run(job, saved)
    write(source, ROWS[:6])
    with pytest.raises(UserError, match="another input"):
        run(job, scorer)
    assert run(job_of(source, fresh=True), scorer) == {"scored": 6}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "rows.jsonl"}, "the input itself"),
        ({"target": "out.parquet"}, "another type"),
        ({"target": "no/out.jsonl"}, "cannot be written"),
        ({"target": "taken.jsonl"}, "its scores do not"),
        ({"aggregate": "prodct"}, "'product'"),
        ({"columns": Columns(steps="solution")}, "the columns are id, problem, steps, more"),
        ({"source": "no.jsonl"}, "no file"),
        ({"source": "rows.csv"}, "unknown type"),
        ({"source": "empty.jsonl"}, "is empty"),
        ({"source": "broken.parquet"}, "no whole Parquet file"),
        ({"source": "scored.jsonl"}, "--prefix"),
    ],
)
def test_what_is_wrong_is_known_before_the_model_is_loaded(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    write(tmp_path / "rows.jsonl", ROWS)
    write(tmp_path / "scored.jsonl", [ROWS[0] | {"score": 1}])
    for name in ("taken.jsonl", "rows.csv", "broken.parquet"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "empty.jsonl").touch()
    source = tmp_path / options.pop("source", "rows.jsonl")
    target = tmp_path / options.pop("target", f"out{source.suffix}")
    with pytest.raises(UserError, match=message) as error:
        check_job(ScoreJob(source=source, target=target, **options))
    assert "\n" not in str(error.value)
