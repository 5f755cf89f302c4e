"""The scripted engine: an answer is scripted or an error, never a guess."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.errors import InputError, UserError
from data.records import FinishReason
from star import load_generator
from star.generation import Request, SamplingParams


def request(prompt: str, seed: int = 0, max_tokens: int = 9) -> Request:
    return Request(id=prompt, prompt=prompt, seed=seed, sampling=SamplingParams(max_tokens=max_tokens))


def test_answers_come_from_the_file_in_order_and_the_seed_picks(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"a": "one two", "b": ["x", "y"]}))
    generator = load_generator(str(file), engine="scripted")
    rows = list(generator.generate([request("b", 1), request("a"), request("b", 0), request("c")]))
    assert [row.text for row in rows] == ["y", "one two", "x", ""]
    assert rows[3].finish_reason is FinishReason.ERROR
    assert rows[3].error


def test_a_long_answer_is_cut_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"a": "one two three"}))
    (row,) = load_generator(str(file), engine="scripted").generate([request("a", max_tokens=2)])
    assert (row.text, row.finish_reason) == ("one two", FinishReason.LENGTH)


def test_a_bad_script_and_an_unknown_engine_are_named(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(InputError, match=r"s\.json:1"):
        load_generator(str(tmp_path / "s.json"), engine="scripted")
    with pytest.raises(UserError, match="transformers, scripted"):
        load_generator("x", engine="vlm")
