"""The vllm engine draws what the transformers engine draws, keeps seeds, and its death is an error and no wait."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from data.errors import EngineError, UserError
from data.prompts import PromptTemplate
from data.records import FinishReason
from data.sources.arithmetic import read_arithmetic
from star import load_generator
from star.checkpoints import EMBEDDED, LoadedModel
from star.generation import Completion, Generator, Request, SamplingParams
from star.generation.transformers_engine import TransformersGenerator

pytest.importorskip("vllm")
# vLLM's own imports and processes warn.
pytestmark = pytest.mark.filterwarnings("default")

SMALL = {"enforce_eager": True, "kv_cache_memory_bytes": 1 << 28, "dtype": "float32"}


def start(**options: object) -> Generator:
    return load_generator("embedded", engine="vllm", batch_size=32, **(SMALL | options))


@pytest.fixture(scope="module")
def engine() -> Iterator[Generator]:
    # With a cache of the size that is taken where none is asked for.
    with closing(start(kv_cache_memory_bytes=None)) as generator:
        yield generator


def prompts(n: int) -> list[str]:
    template = PromptTemplate("arithmetic")
    return [template.render(row) for row in read_arithmetic({"n": n, "difficulty": [1, 2, 3], "seed": 5})][:n]


def requests(texts: list[str], first_seed: int = 0, **params: object) -> list[Request]:
    sampling = SamplingParams(**({"temperature": 0.0, "max_tokens": 60} | params))  # type: ignore[arg-type]
    return [
        Request(id=f"r{place}", prompt=text, seed=first_seed + place, sampling=sampling)
        for place, text in enumerate(texts)
    ]


def test_greedy_answers_and_logprobs_are_those_of_the_transformers_engine(engine: Generator, tiny: LoadedModel) -> None:
    wanted = requests(prompts(64))
    ours, theirs = list(engine.generate(wanted)), list(TransformersGenerator(tiny).generate(wanted))
    assert len(ours) == 64
    assert [row.request_id for row in ours] == [request.id for request in wanted]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.token_ids, one.text, one.finish_reason) == (other.token_ids, other.text, other.finish_reason)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
    assert {row.token_ids[-1] for row in ours if row.finish_reason is FinishReason.STOP} == {2}


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(engine: Generator) -> None:
    drawn = {"temperature": 2.0, "max_tokens": 30}
    together = list(engine.generate(requests(prompts(1) * 40, 7, **drawn)))
    alone = list(engine.generate(requests(prompts(1) * 3, 7 + 11, **drawn)))
    assert len({row.token_ids for row in together}) > 20
    assert [row.token_ids for row in together[11:14]] == [row.token_ids for row in alone]


def test_logprobs_are_those_of_the_untempered_model(engine: Generator, tiny: LoadedModel) -> None:
    import torch

    from star.encoding import encode_prompt

    (request,) = requests(prompts(1), 3, temperature=2.0, top_k=20, top_p=0.9, max_tokens=20)
    (row,) = engine.generate([request])
    prompt = encode_prompt(tiny.tokenizer, request.prompt)
    logits = tiny.model(torch.tensor([[*prompt, *row.token_ids]])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1).gather(-1, torch.tensor(row.token_ids)[:, None]).squeeze(-1)
    assert row.logprobs == pytest.approx(expected.tolist(), abs=1e-3)


def test_a_stop_string_ends_the_sample_and_is_cut_off(engine: Generator, tiny: LoadedModel) -> None:
    wanted = requests(prompts(8), stop=("####", "\n\n"))
    ours, theirs = list(engine.generate(wanted)), list(TransformersGenerator(tiny).generate(wanted))
    assert [(row.text, row.token_ids) for row in ours] == [(row.text, row.token_ids) for row in theirs]
    assert all(row.finish_reason is FinishReason.STOP and "####" not in row.text for row in ours)


def test_a_cut_off_sample_says_length_and_sampling_may_change_midstream(engine: Generator) -> None:
    short, whole = requests(prompts(2), max_tokens=3), requests(prompts(2), max_tokens=60)
    rows = list(engine.generate([short[0], whole[0], short[1], whole[1]]))
    assert [row.finish_reason for row in rows] == [FinishReason.LENGTH, FinishReason.STOP] * 2
    assert [len(row.token_ids) for row in rows[::2]] == [3, 3]


def test_a_prompt_that_cannot_be_completed_is_an_error_beside_good_samples(engine: Generator) -> None:
    long, fine, broken, again = engine.generate(requests(["1+" * 400, prompts(1)[0], "1+\ud800=?", prompts(1)[0]]))
    assert "801 tokens" in long.error
    assert "512" in long.error
    assert "surrogate" in broken.error
    assert fine.text == again.text != ""


def test_many_samples_of_each_prompt_come_in_order_with_seeds_of_their_own(
    engine: Generator, tiny: LoadedModel
) -> None:
    texts = [text for text in prompts(8) for _ in range(4)]
    greedy = list(engine.generate(requests(texts)))
    theirs = list(TransformersGenerator(tiny).generate(requests(texts)))
    assert [(row.request_id, row.token_ids) for row in greedy] == [(row.request_id, row.token_ids) for row in theirs]
    hot = [row.token_ids for row in engine.generate(requests(texts, 50, temperature=2.0))]
    assert all(len(set(hot[start : start + 4])) > 1 for start in range(0, 32, 4))
    # The seed belongs to the sample, not to its place.
    assert hot[8:12] == [row.token_ids for row in engine.generate(requests(texts[8:12], 58, temperature=2.0))]


def test_an_early_end_cancels_the_rest_and_the_engine_goes_on(engine: Generator) -> None:
    drawn = 0

    def stream() -> Iterator[Request]:
        nonlocal drawn
        while True:
            drawn += 1
            yield requests(prompts(1), drawn, temperature=1.0)[0]

    answers = engine.generate(stream())
    for _ in range(5):
        next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert drawn <= 5 + 4 * 32
    (row,) = engine.generate(requests(prompts(1)))
    assert row.text


def test_parameters_that_vllm_refuses_are_the_users_to_mend(engine: Generator) -> None:
    with pytest.raises(UserError, match="temperature"):
        list(engine.generate(requests(prompts(1), temperature=9.0)))


def test_a_model_that_vllm_cannot_load_is_named(tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).symlink_to(EMBEDDED / name)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "architectures": ["NoSuchModel"]}')
    with pytest.raises((UserError, EngineError), match="vLLM"):
        load_generator(str(tmp_path), engine="vllm", **SMALL)


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """vLLM's own server with the embedded model; prompts are read whole there too, or a seed would end it on a CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = f"--model {EMBEDDED} --served-model-name tiny --host 127.0.0.1 --port {port} --dtype float32"
    arguments += " --enforce-eager --no-enable-chunked-prefill --kv-cache-memory-bytes 268435456"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments.split()]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 600
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_the_http_engine_draws_the_same_from_vllms_own_server(server_url: str, tiny: LoadedModel) -> None:
    wanted = requests(prompts(64)) + requests(prompts(4), stop=("####",))
    theirs = list(TransformersGenerator(tiny).generate(wanted))
    options = {"base_url": server_url, "endpoint": "completions"}
    with closing(load_generator("tiny", engine="http", **options)) as generator:
        ours = list(generator.generate(wanted))
        hot = [list(generator.generate(requests(prompts(1) * 8, 3, temperature=2.0))) for _ in range(2)]
        (long,) = generator.generate(requests(["1+" * 400]))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.token_ids, one.text, one.finish_reason) == (other.token_ids, other.text, other.finish_reason)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
        assert one.n_reported == len(one.token_ids)
    assert [row.token_ids for row in hot[0]] == [row.token_ids for row in hot[1]]
    assert len({row.token_ids for row in hot[0]}) > 3
    assert "maximum context length is 512" in long.error


def test_a_model_without_a_chat_template_is_the_users_to_mend(server_url: str) -> None:
    generator = load_generator("tiny", engine="http", base_url=server_url)
    with closing(generator), pytest.raises(UserError, match="endpoint: completions"):
        list(generator.generate(requests(prompts(1))))


def test_a_killed_or_stopped_engine_is_an_error_and_a_fresh_one_goes_on(engine: Generator) -> None:
    wanted = requests(prompts(200), temperature=1.0)
    whole = list(engine.generate(wanted))
    with closing(start()) as doomed:
        before = draw_until_dead(doomed, wanted, signal.SIGKILL)
    with closing(start(stall_s=15.0)) as fresh:
        rest = list(fresh.generate(wanted[len(before) :]))
        assert [row.token_ids for row in before + rest] == [row.token_ids for row in whole]
        draw_until_dead(fresh, wanted, signal.SIGSTOP)


def draw_until_dead(generator: Generator, wanted: list[Request], sent: signal.Signals) -> list[Completion]:
    """What an engine draws of the requests if its process gets a signal after five answers."""
    answers = generator.generate(wanted)
    found = [next(answers) for _ in range(5)]
    os.kill(generator._processes[0].pid, sent)  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match="vLLM"):
        found.extend(answers)
    # `extend` keeps what came before the error.
    assert 5 <= len(found) < len(wanted)
    return found
