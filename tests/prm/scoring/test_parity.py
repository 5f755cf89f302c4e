"""Scores do not depend on the batch, on padding, or on whether a problem's prompt is shared."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from data.errors import UserError
from prm import load_scorer
from prm.calibration import Calibration
from prm.encode import EncodedSteps, EncoderConfig
from prm.model import LoadedPrm, build_prm, save_prm, step_states
from prm.model_config import ModelForm, PrmConfig
from prm.scoring.base import ScoreItem
from prm.scoring.local import TransformersScorer
from prm.scoring.prefix import batch_states
from star.checkpoints import EMBEDDED, LoadedModel

SIZE = {
    "vocab_size": 101,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
}
FAMILIES = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZE)),
    "mistral_window": lambda: MistralForCausalLM(MistralConfig(**SIZE, sliding_window=8)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=101, n_embd=32, n_layer=2, n_head=4)),
}


def randomized(loaded: LoadedPrm) -> LoadedPrm:
    """A PRM whose head says something: a new one says 1/2 to everything."""
    generator = torch.Generator().manual_seed(0)
    for weight in loaded.model.head.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator) / 4)
    return loaded


def scorer_of(form: str = "head", **options: object) -> TransformersScorer:
    torch.set_num_threads(1)
    return TransformersScorer(randomized(build_prm(str(EMBEDDED), ModelForm(form=form))), **options)  # type: ignore[arg-type]


def items(n_problems: int = 5, n_samples: int = 7) -> list[ScoreItem]:
    rng = random.Random(0)
    drawn = []
    for problem in range(n_problems):
        text = "+".join(str(rng.randint(2, 99)) for _ in range(2 + 3 * problem)) + "=?"
        for _ in range(n_samples if problem else 1):
            steps = tuple(f"{rng.randint(2, 99)}+{rng.randint(2, 9)}=" + "7" * rng.randint(1, 9) for _ in range(6))
            drawn.append(ScoreItem(text, steps[: rng.randint(1, 6)], f"r{len(drawn)}"))
    rng.shuffle(drawn)
    return drawn


@pytest.mark.parametrize("form", ["head", "tokens"])
@pytest.mark.parametrize("options", [{}, {"batch_tokens": 90}, {"batch_tokens": 1}, {"share_prefix": False}])
def test_batched_equals_single(form: str, options: dict[str, object]) -> None:
    one, many = scorer_of(form), scorer_of(form, **options)
    found = many.score_batch(items())
    for item, scores in zip(items(), found, strict=True):
        single = one.score(item.problem, item.steps).scores
        assert scores.rationale_id == item.rationale_id
        assert len(scores.scores) == len(item.steps)
        assert max(abs(a - b) for a, b in zip(single, scores.scores, strict=True)) <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_prompt_gives_the_states_of_whole_sequences_in_other_architectures(family: str) -> None:
    torch.manual_seed(0)
    decoder = FAMILIES[family]().eval().base_model
    rng = random.Random(1)
    rows = []
    for length in (3, 11, 11):
        prompt = [rng.randrange(101) for _ in range(length)]
        for _ in range(4):
            ids = prompt + [rng.randrange(101) for _ in range(rng.randint(6, 15))]
            rows.append(EncodedSteps(ids, sorted(rng.sample(range(length, len(ids)), 3)), length))
    with torch.inference_mode():
        for padding in ("left", "right"):
            whole = step_states(decoder, rows, padding).reshape(len(rows), 3, -1)
            for batch, states in batch_states(decoder, rows, 80):
                assert (states.reshape(len(batch), 3, -1) - whole[batch]).abs().max() < 1e-5


def test_a_prompt_is_computed_once_however_many_samples_it_has() -> None:
    scorer = scorer_of()
    seen: list[int] = []
    scorer.loaded.model.decoder.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    problem, steps = "1+2+3+4+5+6+7=?", [(f"{n}+1={n + 1}",) for n in range(10, 30)]
    scorer.score_batch([ScoreItem(problem, step) for step in steps])
    row = scorer.loaded.encoder.encode(problem, steps[0])
    assert sum(seen) == row.prompt_length + 20 * (len(row.ids) - row.prompt_length)


def test_samples_that_repeat_each_other_are_computed_once() -> None:
    scorer = scorer_of()
    calls: list[int] = []
    scorer.loaded.model.decoder.register_forward_pre_hook(
        lambda _, __, kwargs: calls.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = scorer.score_batch([ScoreItem("1+2=?", ("1+2=3",), str(n)) for n in range(9)])
    assert calls == [1]
    assert [one.rationale_id for one in found] == [str(n) for n in range(9)]


def test_equal_tokens_cut_in_other_places_are_scored_apart() -> None:
    scorer = TransformersScorer(randomized(build_prm(str(EMBEDDED), encoder=EncoderConfig(separator=""))))
    one, two = scorer.score_batch([ScoreItem("1+2=?", ("1+2=3", "#")), ScoreItem("1+2=?", ("1+2=3#",))])
    assert len(one.scores) == 2
    assert two.scores == (one.scores[1],)


def test_a_step_scores_alike_in_a_partial_and_in_a_whole_solution() -> None:
    scorer = scorer_of()
    steps = ["12+3=15", "15-4=11", "#### 11"]
    whole = scorer.score("12+3-4=?", steps).scores
    for kept in (1, 2):
        assert scorer.score("12+3-4=?", steps[:kept]).scores == pytest.approx(whole[:kept], abs=1e-5)


def test_what_cannot_be_encoded_is_counted_and_the_rest_is_scored() -> None:
    counts: Counter[str] = Counter()
    wrong = [ScoreItem("q", ()), ScoreItem("q", ("a", " ")), ScoreItem("q", ("a",)), ScoreItem(" ", ("a",))]
    found = scorer_of().score_batch(wrong, counts)
    assert [len(one.scores) for one in found] == [0, 0, 1, 0]
    assert counts == {"zero_steps": 1, "empty_step": 1, "encoded": 1, "empty_problem": 1}
    with pytest.raises(UserError, match="zero_steps"):
        scorer_of().score("q", [])


def test_what_is_no_number_is_never_returned() -> None:
    scorer = scorer_of()
    scorer.loaded.model.head.score[-1].bias[0] = float("nan")  # type: ignore[union-attr,operator,index]
    counts: Counter[str] = Counter()
    assert [one.scores for one in scorer.score_batch(items()[:3], counts)] == [(), (), ()]
    assert counts == {"encoded": 0, "nan_score": 3}
    with pytest.raises(UserError, match="nan_score"):
        scorer.score("1+2=?", ["1+2=3"])


def test_a_solution_longer_than_the_model_can_read_is_refused_by_name() -> None:
    scorer = scorer_of()
    scorer.loaded.model.network.config.max_position_embeddings = 64
    short = TransformersScorer(scorer.loaded)
    long, counts = ScoreItem("1+2=?", ("1+2=3",) * 20), Counter[str]()
    assert len(scorer.loaded.encoder.encode(long.problem, long.steps).ids) > 64
    assert short.score_batch([long, ScoreItem("1+2=?", ("1+2=3",))], counts)[0].scores == ()
    assert counts == {"encoded": 1, "too_long": 1}
    with pytest.raises(UserError, match="the model reads 64"):
        short.score(long.problem, long.steps)


def test_a_step_that_holds_the_separator_is_refused_by_name() -> None:
    scorer = TransformersScorer(build_prm(str(EMBEDDED), encoder=EncoderConfig(separator=" ##")))
    with pytest.raises(UserError, match="separator_in_step"):
        scorer.score("1+2=?", ["1+2=3", "so ## 3"])


def test_a_text_is_not_scored_as_a_list_of_its_characters(tmp_path: Path) -> None:
    save_prm(build_prm(str(EMBEDDED), ModelForm(), EncoderConfig(), seed=1), tmp_path)
    scorer = load_scorer(str(tmp_path))
    with pytest.raises(UserError, match="one text"):
        scorer.score("1+2=?", "1+2=3")
    with pytest.raises(UserError, match="one text"):
        scorer.score_batch([ScoreItem("1+2=?", "1+2=3")])  # type: ignore[arg-type]


def test_nothing_to_score_is_nothing() -> None:
    assert scorer_of().score_batch([]) == []


def test_a_loaded_scorer_is_calibrated_and_names_its_weights(tmp_path: Path) -> None:
    loaded = randomized(build_prm(str(EMBEDDED)))
    plain = TransformersScorer(loaded).score("1+2=?", ["1+2=3"]).scores[0]
    loaded.config = PrmConfig(calibration=Calibration(temperature=2.0))
    config = save_prm(loaded, tmp_path / "prm")
    found = load_scorer(str(tmp_path / "prm")).score("1+2=?", ["1+2=3"])
    odds = (plain / (1 - plain)) ** 0.5
    assert found.scores[0] == pytest.approx(odds / (1 + odds), abs=1e-5)
    assert found.revision == config.revision != ""
    assert found.scorer == str(tmp_path / "prm")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"backend": "abacus"}, "no backend 'abacus'"), ({"layout": "round"}, "no layout 'round'"), ({}, "no prm.json")],
)
def test_what_cannot_be_loaded_says_so_in_one_line(tiny: LoadedModel, options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_scorer(str(EMBEDDED), **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
