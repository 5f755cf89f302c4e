"""Published PRMs: tiny random checkpoints in their layouts give the scores of the code that their authors print.

The references below are written after the model cards and evaluation scripts, one forward pass a step: whole text,
tokenizer, model, read-out.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import UserError
from prm import load_scorer
from prm.scoring.base import ScoreItem
from tests.prm.scoring.checkpoints import (
    LLAMA_CHAT,
    PROBLEM,
    STEPS,
    causal_checkpoint,
    qwen_checkpoint,
    qwen_tokenizer,
    rlhflow_checkpoint,
    shepherd_checkpoint,
    skywork_checkpoint,
)


def test_qwen_prm_scores_as_its_card_says(tmp_path: Path) -> None:
    tokenizer, backbone, head = qwen_checkpoint(tmp_path)
    turns = [
        {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."},
        {"role": "user", "content": PROBLEM},
        {"role": "assistant", "content": "<extra_0>".join(STEPS) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text, return_tensors="pt")
    with torch.inference_mode():
        chances = head(backbone(ids).last_hidden_state).softmax(-1)
    expected = chances[ids == tokenizer.encode("<extra_0>")[0]][:, 1].tolist()
    scorer = load_scorer(str(tmp_path))
    assert len(expected) == len(STEPS)
    assert scorer.score(PROBLEM, STEPS).scores == pytest.approx(expected, abs=1e-5)
    many = scorer.score_batch([ScoreItem(PROBLEM, STEPS[:n]) for n in (1, 2, 3)])
    assert [one.scores for one in many] == [pytest.approx(expected[:n], abs=1e-5) for n in (1, 2, 3)]


def test_a_qwen_layout_without_its_head_or_its_tag_is_refused(tmp_path: Path) -> None:
    _, backbone, _ = qwen_checkpoint(tmp_path)
    backbone.save_pretrained(tmp_path / "headless")
    qwen_tokenizer().save_pretrained(tmp_path / "headless")
    with pytest.raises(UserError, match="does not fit the form"):
        load_scorer(str(tmp_path / "headless"), layout="qwen_prm")
    tokenizer = (tmp_path / "tokenizer.json").read_text().replace("<extra_0>", "<other>")
    (tmp_path / "tokenizer.json").write_text(tokenizer)
    config = (tmp_path / "tokenizer_config.json").read_text().replace("<extra_0>", "<other>")
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(UserError, match="<extra_0>"):
        load_scorer(str(tmp_path))


def test_math_shepherd_scores_as_its_card_says(tmp_path: Path) -> None:
    tokenizer, model = shepherd_checkpoint(tmp_path)
    labels = tokenizer.encode("+ -")[1:]
    tag = tokenizer.encode("ки")[-1]
    ids = torch.tensor([tokenizer.encode(f"{PROBLEM} " + "\n".join(f"{step} ки" for step in STEPS))])
    with torch.inference_mode():
        chances = model(ids).logits[:, :, labels].softmax(-1)[:, :, 0]
    expected = chances[ids == tag].tolist()
    scorer = load_scorer(str(tmp_path), layout="math_shepherd")
    assert len(expected) == len(STEPS)
    assert scorer.loaded.encoder.encode(PROBLEM, STEPS).ids == ids[0].tolist()
    assert scorer.score(PROBLEM, STEPS).scores == pytest.approx(expected, abs=1e-5)


def test_math_shepherd_must_be_named_and_must_have_its_labels(tmp_path: Path) -> None:
    shepherd_checkpoint(tmp_path, labels="+*")
    with pytest.raises(UserError, match="math_shepherd"):
        load_scorer(str(tmp_path))
    with pytest.raises(UserError, match="label token '-'"):
        load_scorer(str(tmp_path), layout="math_shepherd")


def test_a_step_that_holds_the_tag_is_refused_by_name(tmp_path: Path) -> None:
    shepherd_checkpoint(tmp_path)
    scorer = load_scorer(str(tmp_path), layout="math_shepherd")
    with pytest.raises(UserError, match="separator_in_step"):
        scorer.score(PROBLEM, ["a ки", "b"])


@torch.inference_mode()
def skywork_reference(tokenizer: Any, model: Any, value: Any) -> list[float]:
    """After `prepare_input` of skywork-o1-prm-inference: the text of each partial solution on its own."""
    scores = []
    for n_steps in range(1, len(STEPS) + 1):
        ids = tokenizer.encode(tokenizer.bos_token + PROBLEM + "\n", add_special_tokens=False)
        for step in STEPS[:n_steps]:
            ids += [*tokenizer.encode(step, add_special_tokens=False), tokenizer.encode("\n")[-1]]
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
        scores.append(value(states[0, -1]).sigmoid().item())
    return scores


def test_skywork_prm_scores_as_its_repository_does(tmp_path: Path) -> None:
    expected = skywork_reference(*skywork_checkpoint(tmp_path))
    scorer = load_scorer(str(tmp_path))
    assert scorer.score(PROBLEM, STEPS).scores == pytest.approx(expected, abs=1e-5)
    many = scorer.score_batch([ScoreItem(PROBLEM, STEPS[:n]) for n in (1, 2, 3)])
    assert [one.scores for one in many] == [pytest.approx(expected[:n], abs=1e-5) for n in (1, 2, 3)]
    assert max(expected) - min(expected) > 0.01


def test_a_skywork_layout_without_its_head_or_its_first_token_is_refused(tmp_path: Path) -> None:
    causal_checkpoint(tmp_path, 0)
    with pytest.raises(UserError, match="no beginning-of-sequence"):
        load_scorer(str(tmp_path), layout="skywork_prm")
    qwen_tokenizer(bos_token="<|endoftext|>").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="does not fit the form"):
        load_scorer(str(tmp_path), layout="skywork_prm")


@torch.inference_mode()
def rlhflow_reference(tokenizer: Any, model: Any) -> list[float]:
    """After `prm_evaluate.py` of RLHF-Reward-Modeling: a growing conversation, read three tokens before its end."""
    labels = [tokenizer.encode("+", add_special_tokens=False)[-1], tokenizer.encode("-", add_special_tokens=False)[-1]]
    turns: list[dict[str, str]] = []
    scores = []
    for number, step in enumerate(STEPS):
        turns.append({"role": "user", "content": step if number else f"{PROBLEM} {step}"})
        turns.append({"role": "assistant", "content": "+"})
        ids = tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
        scores.append(model(torch.tensor([ids])).logits[0, -3, labels].softmax(-1)[0].item())
    return scores


def test_rlhflow_prm_scores_as_its_repository_does(tmp_path: Path) -> None:
    expected = rlhflow_reference(*rlhflow_checkpoint(tmp_path))
    scorer = load_scorer(str(tmp_path), layout="rlhflow_prm")
    assert scorer.score(PROBLEM, STEPS).scores == pytest.approx(expected, abs=1e-5)
    items = [ScoreItem(PROBLEM, STEPS[:n]) for n in (1, 2, 3)] + [ScoreItem(PROBLEM, ("- 4", *STEPS[1:]))]
    many = scorer.score_batch(items)
    assert [one.scores for one in many[:3]] == [pytest.approx(expected[:n], abs=1e-5) for n in (1, 2, 3)]
    assert max(expected) - min(expected) > 0.01
    assert scorer.score(items[3].problem, items[3].steps).scores == pytest.approx(many[3].scores, abs=1e-5)


@pytest.mark.parametrize(
    ("chat", "merges", "message"),
    [
        (LLAMA_CHAT.replace("content | trim", "content | upper | replace('+', 'yes')"), None, "does not show"),
        (
            LLAMA_CHAT.replace("{{ message.content | trim }}", "{{ message.content | replace('+', 'yes') }}"),
            None,
            "'+'",
        ),
        (LLAMA_CHAT.replace("\\n\\n", " "), [("Ġ", "+")], "told apart"),
        ("", None, "no chat template"),
    ],
)
def test_a_conversation_that_hides_its_labels_is_refused(
    tmp_path: Path, chat: str, merges: list[tuple[str, str]] | None, message: str
) -> None:
    rlhflow_checkpoint(tmp_path, chat.replace("\n\n", " ") if merges else chat, merges)
    with pytest.raises(UserError, match=message.replace("+", "\\+")):
        load_scorer(str(tmp_path), layout="rlhflow_prm")


@torch.inference_mode()
def implicit_reference(tokenizer: Any, policy: Any, reference: Any, beta: float) -> list[float]:
    """Sigmoid of beta times the log-ratio of all that was said so far, token by token, one text a step."""
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROBLEM}], tokenize=False, add_generation_prompt=True
    )
    start = len(tokenizer.encode(prompt, add_special_tokens=False))
    scores = []
    for n_steps in range(1, len(STEPS) + 1):
        ids = tokenizer.encode(prompt + "\n\n".join(STEPS[:n_steps]) + "\n\n", add_special_tokens=False)
        total = 0.0
        for model, sign in ((policy, 1), (reference, -1)):
            logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            total += sign * sum(logprobs[at - 1, ids[at]].item() for at in range(start, len(ids)))
        scores.append(1 / (1 + torch.tensor(-beta * total).exp().item()))
    return scores


def test_an_implicit_prm_scores_the_log_ratio_of_its_two_models(tmp_path: Path) -> None:
    tokenizer, policy = causal_checkpoint(tmp_path / "policy", 4)
    _, reference = causal_checkpoint(tmp_path / "reference", 5)
    expected = implicit_reference(tokenizer, policy, reference, 0.01)
    options = {"layout": "implicit_prm", "reference": str(tmp_path / "reference"), "beta": 0.01}
    scorer = load_scorer(str(tmp_path / "policy"), **options)
    assert scorer.score(PROBLEM, STEPS).scores == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01
    items = [ScoreItem(PROBLEM, STEPS[:n]) for n in (1, 2, 3)] + [ScoreItem("Another?", STEPS)]
    for sizes in ({}, {"batch_tokens": 100}, {"share_prefix": False}):
        many = load_scorer(str(tmp_path / "policy"), **options, **sizes).score_batch(items)
        assert [one.scores for one in many[:3]] == [pytest.approx(expected[:n], abs=1e-5) for n in (1, 2, 3)]
        assert len(many[3].scores) == 3
    same = load_scorer(str(tmp_path / "policy"), layout="implicit_prm", reference=str(tmp_path / "policy"))
    assert same.score(PROBLEM, STEPS).scores == pytest.approx([0.5] * 3)
    assert same.revision != scorer.revision


def test_an_implicit_prm_needs_a_reference_of_its_own_vocabulary(tmp_path: Path) -> None:
    causal_checkpoint(tmp_path / "policy", 4)
    rlhflow_checkpoint(tmp_path / "other")
    for reference, message in (("", "trained from"), (str(tmp_path / "other"), "vocabularies")):
        with pytest.raises(UserError, match=message):
            load_scorer(str(tmp_path / "policy"), layout="implicit_prm", reference=reference)


@pytest.mark.parametrize("layout", ["qwen_prm", "math_shepherd", "skywork_prm", "rlhflow_prm", "implicit_prm"])
def test_bad_input_has_a_named_reason_in_every_layout(tmp_path: Path, layout: str) -> None:
    make = {"qwen_prm": qwen_checkpoint, "math_shepherd": shepherd_checkpoint, "skywork_prm": skywork_checkpoint}
    if layout == "implicit_prm":
        causal_checkpoint(tmp_path, 4)
    else:
        make.get(layout, rlhflow_checkpoint)(tmp_path)
    scorer = load_scorer(str(tmp_path), layout=layout, reference=str(tmp_path))  # type: ignore[arg-type]
    scorer.context = 300  # type: ignore[attr-defined]
    counts: Counter[str] = Counter()
    wrong = [("q", ()), ("q", ("a", " ")), (" ", ("a",)), ("q", ("a" * 400,)), ("q", ("\ud800",)), ("q", ("a",))]
    found = scorer.score_batch([ScoreItem(*one) for one in wrong], counts)
    assert [len(one.scores) for one in found] == [0, 0, 0, 0, 0, 1]
    assert counts == {
        "zero_steps": 1, "empty_step": 1, "empty_problem": 1, "too_long": 1, "bad_utf8": 1, "encoded": 1
    }  # fmt: skip
    for (problem, steps), reason in zip(
        wrong[:4], ["zero_steps", "empty_step", "empty_problem", "too_long"], strict=True
    ):
        with pytest.raises(UserError, match=reason):
            scorer.score(problem, steps)
