"""Decoding: what a sample is depends on its own seed and prompt, not on its neighbours."""

from __future__ import annotations

import pytest
import torch

from data.prompts import PromptTemplate
from data.records import FinishReason
from data.sources.arithmetic import read_arithmetic
from star.checkpoints import LoadedModel
from star.encoding import encode_prompt
from star.generation import Request, SamplingParams
from star.generation.decoding import sample_tokens
from star.generation.transformers_engine import TransformersGenerator


def requests(n: int, **params: object) -> list[Request]:
    template = PromptTemplate("arithmetic")
    sampling = SamplingParams(**({"temperature": 0.8, "max_tokens": 60} | params))  # type: ignore[arg-type]
    problems = list(read_arithmetic({"n": n, "difficulty": [1, 3], "seed": 5}))
    return [
        Request(id=row.id, prompt=template.render(row), seed=place, sampling=sampling)
        for place, row in enumerate(problems)
    ]


def test_a_sample_is_the_same_alone_and_in_a_batch_with_longer_prompts(tiny: LoadedModel) -> None:
    wanted = requests(8)
    together = list(TransformersGenerator(tiny, batch_size=64).generate(wanted))
    alone = list(TransformersGenerator(tiny, batch_size=1).generate(wanted))
    assert [row.token_ids for row in together] == [row.token_ids for row in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_the_seed_alone_tells_two_samples_of_one_prompt_apart(tiny: LoadedModel) -> None:
    prompt = requests(1)[0].prompt
    sampling = SamplingParams(temperature=4.0, max_tokens=40)
    rows = [Request(id=str(seed), prompt=prompt, seed=seed, sampling=sampling) for seed in (1, 2, 1)]
    first, second, again = TransformersGenerator(tiny).generate(rows)
    assert first.token_ids == again.token_ids
    assert first.token_ids != second.token_ids


def test_greedy_equals_transformers_own_generate(tiny: LoadedModel) -> None:
    wanted = requests(8, temperature=0.0)
    ours = list(TransformersGenerator(tiny, batch_size=16).generate(wanted))
    for request, completion in zip(wanted, ours, strict=True):
        ids = torch.tensor([encode_prompt(tiny.tokenizer, request.prompt)])
        theirs = tiny.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=60)
        assert list(completion.token_ids) == theirs[0, ids.shape[1] :].tolist()


def test_logprobs_are_those_of_one_plain_forward_pass(tiny: LoadedModel) -> None:
    request = requests(1)[0]
    (row,) = TransformersGenerator(tiny).generate([request])
    prompt = encode_prompt(tiny.tokenizer, request.prompt)
    logits = tiny.model(torch.tensor([[*prompt, *row.token_ids]])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1).gather(-1, torch.tensor(row.token_ids)[:, None]).squeeze(-1)
    assert row.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_cut_off_is_reported_as_length_and_finished_as_stop(tiny: LoadedModel) -> None:
    (cut,) = TransformersGenerator(tiny).generate(requests(1, max_tokens=3)[:1])
    (whole,) = TransformersGenerator(tiny).generate(requests(1, max_tokens=60, temperature=0.0)[:1])
    assert (cut.finish_reason, len(cut.token_ids)) == (FinishReason.LENGTH, 3)
    assert whole.finish_reason is FinishReason.STOP
    assert whole.token_ids[-1] == tiny.tokenizer.eos_token_id


def test_a_stop_string_ends_the_sample_and_is_cut_off(tiny: LoadedModel) -> None:
    (row,) = TransformersGenerator(tiny).generate(requests(1, temperature=0.0, stop=("####",))[:1])
    assert row.finish_reason is FinishReason.STOP
    assert "####" not in row.text
    assert row.text.endswith("\n")


def test_a_prompt_longer_than_the_context_is_an_error_that_names_the_lengths(tiny: LoadedModel) -> None:
    long = Request(id="x", prompt="1+" * 400, seed=0, sampling=SamplingParams(max_tokens=60))
    short = requests(1)[0]
    failed, fine = TransformersGenerator(tiny).generate([long, short])
    assert failed.finish_reason is FinishReason.ERROR
    assert "801" in failed.error
    assert "512" in failed.error
    assert fine.text


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([0.1, 0.2, 0.7])).expand(3000, 3)
    uniforms = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000
    drawn = sample_tokens(logits, uniforms, SamplingParams())
    assert drawn.bincount().tolist() == [300, 600, 2100]


@pytest.mark.parametrize(("params", "allowed"), [(SamplingParams(top_k=1), {2}), (SamplingParams(top_p=0.75), {1, 2})])
def test_truncation_removes_the_tail_only(params: SamplingParams, allowed: set[int]) -> None:
    logits = torch.log(torch.tensor([0.1, 0.2, 0.7])).expand(500, 3)
    uniforms = (torch.arange(500, dtype=torch.float64) + 0.5) / 500
    assert set(sample_tokens(logits, uniforms, params).tolist()) == allowed


def test_temperature_sharpens() -> None:
    logits = torch.log(torch.tensor([0.25, 0.75])).expand(1000, 2)
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    # p^2 normalized: 1/16 against 9/16.
    assert sample_tokens(logits, uniforms, SamplingParams(temperature=0.5)).bincount().tolist() == [100, 900]
