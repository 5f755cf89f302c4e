"""Recipes: a mistake is one line that names the path and the cure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from data.config import Config
from data.errors import UserError
from data.prompts import PromptTemplate
from data.sources import GENERATED, SOURCES
from pipelines.recipe import Recipe, SamplingConfig, differences, load_recipe, shipped_recipes

MINIMAL = """
name: x
model: {name: embedded}
problems: {source: arithmetic}
evaluation: {source: arithmetic, split: test}
prompt: arithmetic
"""


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    return str(file)


def test_every_shipped_recipe_loads_and_names_what_exists() -> None:
    assert "quickstart" in shipped_recipes()
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.problems.source in {*SOURCES, *GENERATED}
        PromptTemplate(recipe.prompt)


def test_overrides_reach_nested_keys_and_are_typed(tmp_path: Path) -> None:
    recipe = load_recipe(
        written(tmp_path, MINIMAL), ["sampling.n=8", "rationalization.enabled=false", "sft.growth=1.5"]
    )
    assert (recipe.sampling.n, recipe.rationalization.enabled, recipe.sft.growth) == (8, False, 1.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["sampling.temprature=1"], ["sampling.temprature", "temperature"]),
        (["round=2"], ["'round'", "rounds"]),
        (["learning_rate=1e-3"], ["'learning_rate'", "'sft.learning_rate'"]),
        (["sampling.n=0"], ["sampling.n", "0", "greater than or equal to 1"]),
        (["sampling.top_p=1.5"], ["sampling.top_p", "1.5"]),
        (["sampling.n=many"], ["sampling.n", "many"]),
        (["name=../../etc"], ["name", "../../etc", "[A-Za-z0-9]"]),
        (["threads=100000"], ["threads", "1024"]),
        (["sampling"], ["'sampling'", "key.path=value"]),
        (["seed.deep=1"], ["seed"]),
        (["engine.type=vlm"], ["engine.type", "vlm", "transformers"]),
        (["balance.n=[0]"], ["balance.n", "0"]),
        # What would stop the run only after its rounds is refused before them.
        (["ppo.enabled=true", "sampling.top_k=40"], ["top_k"]),
        (["ppo.enabled=true", "promotion.dev_share=0"], ["dev_share"]),
        (["ppo={enabled: true, rewards: prm}"], ["prm.enabled"]),
        (["leaks.quarantine=[answer_gap]", "engine.type=vllm"], ["answer_gap", "transformers"]),
    ],
)
def test_a_bad_override_names_path_value_and_cure(tmp_path: Path, change: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(written(tmp_path, MINIMAL + "seed: 1\n"), change)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("name: x\nname: y\n", "twice"),
        ("name: [x\n", r"yaml: while parsing a flow sequence at line 1, .* at line 2"),
        ("- a\n", "mapping"),
        ("name: !!python/object/apply:os.system ['touch /tmp/owned']\n", "python/object"),
        (MINIMAL.replace("prompt: arithmetic\n", ""), "prompt"),
        ("a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)), "aliases"),
    ],
)
def test_bad_yaml_is_refused_and_runs_nothing(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        load_recipe(written(tmp_path, text))


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match="quickstart"):
        load_recipe("quikstart")


def test_differences_name_the_path_and_both_values() -> None:
    old, new = load_recipe("quickstart"), load_recipe("quickstart", ["sampling.n=9", "seed=3"])
    lines = differences(old.model_dump(mode="json"), new.model_dump(mode="json"))
    assert lines == [f"sampling.n: {old.sampling.n} -> 9", "seed: 0 -> 3"]


def fields_of(config: type[Config]) -> Iterator[tuple[str, str]]:
    """(config, field) of a config and of those nested in it."""
    for name, described in config.model_fields.items():
        yield config.__name__, name
        if isinstance(described.annotation, type) and issubclass(described.annotation, Config):
            yield from fields_of(described.annotation)


def test_every_key_of_a_recipe_is_read_somewhere() -> None:
    # A key that is parsed and never read looks like a setting that works.
    root = Path(__file__).parents[2]
    source = "".join(file.read_text() for top in ("pipelines", "star", "prm") for file in (root / top).rglob("*.py"))
    passed_on = {("SamplingConfig", name) for name in ("temperature", "top_p", "top_k", "max_tokens", "stop")}
    unread = [place for place in fields_of(Recipe) if not re.search(rf"\.{place[1]}\b", source)]
    assert not set(unread) - passed_on
    params = SamplingConfig(temperature=0.5, top_p=0.9, top_k=3, max_tokens=7, stop=["x"]).params()
    assert asdict(params) == {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "max_tokens": 7, "stop": ("x",)}
