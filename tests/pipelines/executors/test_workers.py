"""What holds for workers of either kind: same results, order, no reading ahead, nothing lost with a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import EngineError, UserError
from data.prompts import PromptTemplate
from data.sources.arithmetic import read_arithmetic
from pipelines.executors import EngineSpec, Executor, ExecutorConfig, open_executor
from pipelines.executors.local import LocalExecutor
from star.generation import Request, SamplingParams
from tests.pipelines.executors.conftest import Script, batches, draw, drawn_ids, ids

Open = Callable[[ExecutorConfig], Executor]


def sums() -> Iterator[list[Request]]:
    """Batches of the embedded model's problems, greedy and sampled, short and long."""
    template = PromptTemplate("arithmetic")
    problems = list(read_arithmetic({"n": 24, "difficulty": [1, 6], "seed": 3}))
    for place in range(6):
        params = SamplingParams(temperature=float(place % 2), max_tokens=8 if place == 1 else 60)
        yield [
            Request(id=problem.id, prompt=template.render(problem), seed=place, sampling=params)
            for problem in problems[4 * place : 4 * place + 4 + 8 * (place == 0)]
        ]


def test_two_workers_draw_what_one_draws_in_this_process_to_the_bit(config: ExecutorConfig) -> None:
    spec = EngineSpec(model="embedded", engine="transformers", revision=None, batch_size=8, threads=1)
    executor = open_executor(spec, config)
    found = list(executor.map(sums()))
    executor.close()
    expected = list(LocalExecutor(spec).map(sums()))
    assert found == expected
    assert len({completion.logprobs for batch in found for completion in batch}) > len(found)


def test_order_is_kept_and_batches_are_asked_for_as_workers_get_free(
    config: ExecutorConfig, workers: Open, script: Script
) -> None:
    # The first batch lasts longer than the two after it, which the other worker draws in the meantime.
    script.until = {"0": "2"}
    n_asked, n_received, executor = 0, 0, workers(config)

    def counted() -> Iterator[list[Request]]:
        nonlocal n_asked
        for batch in batches(9):
            n_asked += 1
            assert n_asked - n_received <= config.workers + 1
            yield batch

    for completions in executor.map(counted()):
        assert drawn_ids(completions) == [f"{n_received}/0", f"{n_received}/1"]
        n_received += 1
    assert n_received == n_asked == 9


def test_a_worker_killed_at_work_loses_nothing_and_no_batch_comes_twice(
    config: ExecutorConfig, workers: Open, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    # The killer waits until the batch after the next was given out: then the next one is done, and stays so.
    script.until, script.deadly = {"0": "2"}, {"0": 1, "5": 1}
    assert draw(workers(config), list(batches(8, size=1))) == ids(batches(8, size=1))
    assert script.asked.count("1") == 1
    assert capsys.readouterr().err.count("(0 more tries)") == 2


def test_workers_that_die_each_time_end_in_an_error_that_names_the_cure(
    config: ExecutorConfig, workers: Open, script: Script
) -> None:
    script.deadly = {"2": 9}
    got, executor = [], workers(config)
    with pytest.raises(EngineError, match=r"2 .*in a row.*executor\.") as caught:
        got.extend(executor.map(batches(4, size=1)))
    assert "\n" not in str(caught.value)
    # A process that dies takes the others with it, so its death may be charged to a batch before.
    assert len(got) <= 2
    assert script.asked.count("2") >= 2


def test_an_engine_that_cannot_be_built_is_the_users_error_in_one_line(config: ExecutorConfig, tmp_path: Path) -> None:
    spec = EngineSpec(model=str(tmp_path / "none.json"), engine="scripted", revision=None, batch_size=1)
    for unusable in (spec, replace(spec, engine="http", options={"base_url": "http://h", "patience": 1})):
        executor = open_executor(unusable, config)
        with pytest.raises(UserError, match=r"no script file|engine option 'patience'") as caught:
            list(executor.map(batches(3)))
        assert "\n" not in str(caught.value)
        assert caught.value.cure
        executor.close()


def test_what_was_left_half_done_does_not_appear_in_what_comes_next(config: ExecutorConfig, workers: Open) -> None:
    executor = workers(config)
    assert drawn_ids(next(executor.map(batches(6)))) == ["0/0", "0/1"]
    assert draw(executor, list(batches(5))[2:]) == ids(batches(5))[2:]
