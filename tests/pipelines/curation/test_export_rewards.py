"""The reward functions for other trainers, alone and through the trainers' own loaders where those are installed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.curation.export import ExportJob, export_run
from pipelines.curation.export_rewards import compute_score, reward_func, step_rewards
from tests.pipelines.stored_run import stored_run


def export_to(folder: Path, layout: str) -> Path:
    out = folder / layout
    export_run(stored_run(folder / "run"), ExportJob(layout=layout, out=out, validation_share=0.0))
    return out


def label(kind: str, ground_truth: str, problem: str = "") -> str:
    return json.dumps({"kind": kind, "ground_truth": ground_truth, "problem": problem})


def test_a_score_is_the_verdict_and_the_share_of_right_steps_stands_beside_it() -> None:
    facts = {"kind": "math", "problem": "2+3+4=?"}
    right = compute_score("sums", "2+3=5\n5+4=9\n#### 9", "9", facts)
    assert right == {"score": 1.0, "acc": 1.0, "undecided": 0.0, "steps_right": 1.0}
    lucky = compute_score("sums", "2+3=6\n5+4=9\n#### 9", "9", facts)
    assert (lucky["score"], lucky["steps_right"]) == (1.0, 0.5)
    assert compute_score("sums", "I give up.", "9", facts)["score"] == 0.0
    assert compute_score("any", "so it is \\boxed{1/2}", "0.5")["score"] == 1.0


def test_choices_and_programs_are_checked_by_their_own_rules() -> None:
    assert compute_score("csqa", "So the answer is (B).", "B", {"kind": "choice", "problem": "?"})["score"] == 1.0
    code = {"kind": "code", "problem": "Write f that doubles."}
    assert compute_score("mbpp", "def f(x):\n    return 2 * x", "assert f(2) == 4", code)["score"] == 1.0
    assert compute_score("mbpp", "def f(x):\n    return 3 * x", "assert f(2) == 4", code)["score"] == 0.0


def test_a_check_that_cannot_decide_is_marked() -> None:
    found = compute_score("x", "#### 3", "")
    assert (found["score"], found["undecided"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    "ending", ["", "<|im_end|>", "</s>", "<|im_end|>\n<|endoftext|><|endoftext|>", "<｜end▁of▁sentence｜>"]
)
def test_control_tokens_behind_a_response_are_no_part_of_its_answer(ending: str) -> None:
    prompt = "<|user|>2+3=?<|assistant|>"
    found = reward_func(
        [f"{prompt}2+3=5\n#### 5{ending}", f"{prompt}#### 6{ending}"], [prompt] * 2, [label("math", "5")] * 2
    )
    assert found["rewards"].tolist() == found["scores"].tolist() == [1.0, 0.0]
    assert found["extra_logs"]["undecided"].tolist() == [0.0, 0.0]


def test_step_rewards_end_where_the_steps_do() -> None:
    response = "2+3=5\n5+4=8\nDone.\n#### 8"
    found = step_rewards("2+3+4=?", response)
    assert [response[: reward.end].count("\n") for reward in found] == [1, 2, 3, 3]
    assert [reward.value for reward in found] == [1.0, 0.0, None, None]
    assert found[-1].end == len(response)


class Words:
    """A tokenizer of words: what the trainers' data sets ask for."""

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool = False, **_: Any) -> Any:
        text = "".join(f"<|{turn['role']}|>{turn['content']}" for turn in messages) + "<|assistant|>"
        return list(range(len(text.split()))) if tokenize else text


@pytest.mark.filterwarnings("default")
def test_verl_loads_rows_and_reward(tmp_path: Path) -> None:
    pytest.importorskip("verl", reason="verl is not installed", exc_type=ImportError)
    from omegaconf import OmegaConf
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    out = export_to(tmp_path, "verl")
    config = OmegaConf.create(
        {"max_prompt_length": 64, "cache_dir": str(tmp_path), "filter_overlong_prompts_workers": 1}
    )
    rows = RLHFDataset([str(out / "train.parquet")], Words(), config)
    assert len(rows) == 30
    assert len(collate_fn([rows[0], rows[1]])["raw_prompt"]) == 2
    reward = {"path": str(out / "reward.py"), "name": "compute_score"}
    score = get_custom_reward_fn(OmegaConf.create({"reward": {"custom_reward_function": reward}}))
    row = rows[0]
    gold = row["reward_model"]["ground_truth"]
    fields = {"data_source": row["data_source"], "ground_truth": gold, "extra_info": row["extra_info"]}
    assert score(solution_str=f"#### {gold}", **fields)["score"] == 1.0
    assert score(solution_str=f"#### {gold}1", **fields)["score"] == 0.0


@pytest.mark.filterwarnings("default")
def test_openrlhf_loads_rows_and_reward(tmp_path: Path) -> None:
    pytest.importorskip("openrlhf", reason="OpenRLHF is not installed", exc_type=ImportError)
    from datasets import load_dataset
    from openrlhf.datasets.prompts_dataset import PromptDataset
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    out = export_to(tmp_path, "openrlhf")
    rows = load_dataset(str(out), "default", split="train", cache_dir=str(tmp_path / "cache"))
    data = SimpleNamespace(input_key="input", label_key="label", apply_chat_template=True)
    strategy = SimpleNamespace(args=SimpleNamespace(data=data), is_rank_0=lambda: False)
    dataset = PromptDataset(rows, Words(), strategy)
    source, prompt, text, _ = dataset[0]
    assert source == "sums"
    gold = json.loads(text)["ground_truth"]
    executor = SingleTurnAgentExecutor(str(out / "reward.py"))
    (found,) = asyncio.run(executor._fetch_rewards_via_func([f"{prompt}#### {gold}</s>"], [prompt], [text]))
    assert found["rewards"].tolist() == [1.0]


@pytest.mark.filterwarnings("default")
def test_trl_reads_the_labels_that_were_written(tmp_path: Path) -> None:
    prm = pytest.importorskip("trl.experimental.prm", reason="TRL up to 1.13 is not installed", exc_type=ImportError)
    from datasets import load_dataset

    class Characters:
        bos_token_id = None

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [ord(char) for char in text]}

        def encode(self, text: str, **_: Any) -> list[int]:
            return [ord(char) for char in text]

    out = export_to(tmp_path, "stepwise")
    for row in load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache")):
        made = prm.PRMTrainer.tokenize_row(row, Characters(), "\n", None, None, False, False)
        assert [label for label in made["labels"] if label != -100] == row["labels"]
