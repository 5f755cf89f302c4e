"""Settings from words: strict, and one line for a mistake."""

from __future__ import annotations

import pytest

from data.errors import UserError
from pipelines.overrides import settings_from, split_words
from pipelines.prm.settings import PrmSettings


def test_overrides_reach_nested_settings_and_keep_their_types() -> None:
    words = ["learning_rate=1e-4", "encoder.separator=' ки'", "model.head=mlp", "steps=7", "class_balance=true"]
    found = settings_from(PrmSettings, words)
    assert (found.learning_rate, found.steps, found.class_balance) == (1e-4, 7, True)
    assert (found.encoder.separator, found.model.head) == (" ки", "mlp")
    assert found.training().learning_rate == 1e-4


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lerning_rate=1", "Did you mean 'learning_rate'"),
        ("separator=x", "Did you mean 'encoder.separator'"),
        ("steps=0", "steps = 0: "),
        ("steps=many", "steps = 'many'"),
        ("steps.more=1", "steps"),
        ("neutral=fine", "neutral = 'fine'"),
        ("model=[", "Mend the YAML"),
    ],
)
def test_a_mistake_is_named_in_one_line(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        settings_from(PrmSettings, [word])
    assert "\n" not in str(error.value)


def test_files_and_overrides_are_told_apart() -> None:
    words = ["a.jsonl", "steps=3", "./a=b.jsonl", "encoder.format=chat", "runs/x=1/l.jsonl"]
    assert split_words(words) == (["a.jsonl", "./a=b.jsonl", "runs/x=1/l.jsonl"], ["steps=3", "encoder.format=chat"])


def test_neutral_as_a_class_makes_a_third_class() -> None:
    assert settings_from(PrmSettings, ["neutral=class"]).form().classes == 3
    assert settings_from(PrmSettings, ["neutral=soft", "after_error=wrong"]).prm800k().after_error == "negative"
