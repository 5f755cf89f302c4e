"""Reward placement: the golden token for seven tokenizers and thirty texts, against two oracles."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from data.steps import split_steps
from star.encoding import decode_tokens
from star.ppo.placement import MisplacedError, place_rewards, step_end_tokens
from tests.prm.test_encode import FAMILIES, tokenizer_of

TEXTS = [
    "12+3=15\n15-4=11\n#### 11",
    "First we add.\n\nThen we divide.\n\nThe answer is 7.",
    "Step 1: a.\nStep 2: b.\nStep 3: c.",
    "We have 3 + 4 = 7. So the answer is 7. Done.",
    "\\frac{1}{2} + \\frac{1}{2} = 1.\n\n\\[x = 1\\]\n\nThus $x = 1$.",
    "We get\n$$\nx = 2\n$$\nand therefore y = 3.\n\n**Answer:** 3",
    "漢字を使う。次に計算する。答えは七です。",
    "首先 3 + 4 = 7。\n\n然后 7 × 2 = 14。\n\n答案是 14。",
    "Обозначим x = 2.\nТогда y = 3.\n",
    "🙂 is 1.\n👩‍👩‍👧 is 3.\n🙂🙂 is 2.",
    "ки ки\nки\n",
    "é è ê.\nñ ü.\ná combining.",
    "a.\r\n\r\nb.\r\nc.",
    "  indented\n    more\n  less",
    "one line only",
    "x",
    "\n\nleading blank lines\n\n\nand inner ones\n\n",
    "```python\nprint(1)\n\nprint(2)\n```\nIt prints 1 and 2.",
    "1. First item.\n   continued\n2. Second item.\n\n3. Third item.",
    "## Step 1\nAdd.\n\n## Step 2\nDivide.\n\n# Answer\n\n42",
    "tab\there\nand\tthere\n",
    "a\u2028b\u0085c\nd",
    "3.14 is pi. 2.71 is e. Mr. X agrees.",
    "((((((((((\n))))))))))",
    "............\n\n............\n\n.",
    "العربية أولا.\nثم الجواب ٧.\n",
    "हिन्दी में।\nउत्तर ७ है।\n",
    "𝑥 = 𝟙.\n𝔸 ⊂ ℝ.\n∑ᵢ xᵢ = 0.",
    "Step 1: we have 3 + 4 = 7.\n\nStep 2: add. ки\nStep 3: 7 ки\n\n",
    "trailing spaces   \nsecond   \n   ",
]


def spelled(family: str, text: str) -> tuple[list[int], tuple[str, ...]]:
    """Ids of a text, and the steps of what they decode to."""
    ids = tokenizer_of(family)(text, add_special_tokens=False)["input_ids"]
    return ids, split_steps(decode_tokens(tokenizer_of(family), ids))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_step_ends_at_the_first_token_that_spells_it_whole(family: str) -> None:
    n_steps = 0
    for text in TEXTS:
        ids, steps = spelled(family, text)
        found = step_end_tokens(tokenizer_of(family), ids, steps)
        prefixes = [decode_tokens(tokenizer_of(family), ids[: place + 1]) for place in range(len(ids))]
        for place in range(len(steps)):
            goal = "".join(steps[: place + 1])
            assert found[place] == next(at for at, prefix in enumerate(prefixes) if prefix.startswith(goal))
        n_steps += len(steps)
    assert n_steps > 45


@pytest.mark.parametrize("family", ["byte_level", "byte_level_unsplit", "llama", "tiny"])
def test_the_tokenizers_own_offsets_agree(family: str) -> None:
    """Where ids spell the text exactly: the last token that starts before the step's end."""
    tokenizer, compared = tokenizer_of(family), 0
    for text in TEXTS:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        if decode_tokens(tokenizer, ids) != text:
            continue
        end = 0
        for step, found in zip(split_steps(text), step_end_tokens(tokenizer, ids, split_steps(text)), strict=True):
            end += len(step)
            assert found == max(at for at, (start, _) in enumerate(offsets) if start < end)
            compared += 1
    assert compared > (20 if family == "tiny" else 60)


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and the merges that cause trouble: a full stop with the blank line, and that with the next word."""
    alphabet = {symbol: at for at, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    pairs = [("Ċ", "Ċ"), (".", "ĊĊ"), (".ĊĊ", "B"), ("A", ".ĊĊB")]
    for pair in pairs:
        alphabet["".join(pair)] = len(alphabet)
    tokenizer = Tokenizer(models.BPE(alphabet, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize(
    ("text", "n_tokens", "golden"),
    [
        ("x.\n\ny.", 4, [1, 3]),  # x | .\n\n | y | .
        ("x.\n\nB.", 3, [1, 2]),  # x | .\n\nB | .   the first step ends inside the second token
        ("A.\n\nB", 1, [0, 0]),  # one token holds both ends
        ("a\nb\n\nc", 5, [1, 3, 4]),  # a | \n | b | \n\n | c
        ("é\n漢", 6, [2, 5]),  # two bytes, \n, three bytes: the last byte completes the character
    ],
)
def test_golden_offsets(text: str, n_tokens: int, golden: list[int]) -> None:
    tokenizer = merging_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == n_tokens
    assert step_end_tokens(tokenizer, ids, split_steps(text)) == golden


def test_ids_that_the_tokenizer_would_not_choose_are_placed_as_drawn() -> None:
    tokenizer = merging_tokenizer()
    letters = [tokenizer.convert_tokens_to_ids(symbol) for symbol in ("A", ".", "Ċ", "Ċ", "B")]
    assert tokenizer("A.\n\nB")["input_ids"] != letters
    assert step_end_tokens(tokenizer, letters, ["A.\n\n", "B"]) == [3, 4]


def test_an_end_of_sequence_token_and_a_cut_stop_string_are_behind_the_last_step() -> None:
    tokenizer = tokenizer_of("tiny")
    ids = tokenizer("1+1=2\n#### 2\nQ:", add_special_tokens=False)["input_ids"]
    assert step_end_tokens(tokenizer, [*ids, tokenizer.eos_token_id], ["1+1=2\n", "#### 2"]) == [5, 8]


@pytest.mark.parametrize("steps", [["1+1=3\n"], ["1+1=2\n", "", "#### 2"], ["1+1=2\n#### 2\nmore"]])
def test_steps_that_the_ids_do_not_spell_are_refused(steps: list[str]) -> None:
    ids = tokenizer_of("tiny")("1+1=2\n#### 2", add_special_tokens=False)["input_ids"]
    with pytest.raises(MisplacedError):
        step_end_tokens(tokenizer_of("tiny"), ids, steps)


def test_rewards_of_one_token_add_up_and_the_outcome_is_on_the_last() -> None:
    assert place_rewards(6, [1, 3, 3], [0.5, 0.25, 0.125], 1.0) == [0, 0.5, 0, 0.375, 0, 1.0]
    assert place_rewards(2, [1], [0.5], 1.0) == [0, 1.5]
    assert place_rewards(3, [], [], -1.0) == [0, 0, -1.0]


@pytest.mark.parametrize(("ends", "rewards"), [([1, 2], [0.5]), ([1], [0.5, 0.5]), ([3], [0.5]), ([-1], [0.5])])
def test_rewards_are_never_cut_to_fit(ends: list[int], rewards: list[float]) -> None:
    with pytest.raises(ValueError, match=r"rewards for|outside"):
        place_rewards(3, ends, rewards, 0.0)
