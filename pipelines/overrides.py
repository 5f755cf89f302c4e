"""Settings from YAML and from `key=value` words, checked strictly: one line for a mistake, with the nearest key.

YAML is loaded safely and duplicate keys are refused. An unknown key is an error that names its path and the nearest
key; a value out of range names path, value and bound.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from data.config import Config
from data.errors import UserError

Settings = TypeVar("Settings", bound=Config)

_OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_]+)*=.*", re.DOTALL)


_MOST_ALIASES = 20
"""In one text. Aliases of aliases double with each level: a few dozen lines would fill the memory."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, and more aliases than anyone writes by hand."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > _MOST_ALIASES:
                raise yaml.composer.ComposerError(None, None, f"more than {_MOST_ALIASES} aliases")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{twice.pop()}' is given twice", node.start_mark
            )
        return dict(super().construct_mapping(node, deep))


# YAML 1.1 reads 1e-3, without a dot, as text.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\Z"), list("-+0123456789")
)


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files and overrides of one list of arguments; a file with a name like `a=b` is given as `./a=b`."""
    overrides = [word for word in words if _OVERRIDE.fullmatch(word)]
    return [word for word in words if word not in overrides], overrides


def read_yaml(text: str, where: str) -> Any:
    """YAML text as plain values.

    Raises:
        UserError: it is not YAML, or gives a key twice; `where` is what the error calls it.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split()).replace('in "<unicode string>", line', "at line")
        raise UserError(f"{where}: {said}.", "Mend the YAML.") from error


def apply_override(content: dict[str, Any], override: str) -> None:
    """Set one dotted path of a nested mapping, as in `sampling.n=8`.

    Raises:
        UserError: it is no override, or its path leads through something that is no section.
    """
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise UserError(f"'{override}' is no override.", "Write key.path=value, e.g. sampling.n=8.")
    *parents, last = path.split(".")
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UserError(f"'{path}': '{parent}' is not a section.", "Leave out what follows its dot.")
    place[last] = read_yaml(value, override)


def checked(model: type[Settings], content: Mapping[str, Any], *, where: str = "") -> Settings:
    """A plain mapping as settings.

    Raises:
        UserError: an unknown or missing key, or a value of the wrong type or out of range.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _user_error(error, model, f"{where}: " if where else "") from error


def settings_from(model: type[Settings], overrides: Iterable[str]) -> Settings:
    """Defaults with dotted overrides applied; errors as of `apply_override` and `checked`."""
    content: dict[str, Any] = {}
    for override in overrides:
        apply_override(content, override)
    return checked(model, content)


def _user_error(error: ValidationError, model: type[Config], where: str) -> UserError:
    """The first mistake that pydantic found, in one line, with the cure."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return UserError(f"{where}unknown key '{path}'.", _nearest_key(model, path, first["loc"]))
    if first["type"] == "missing":
        return UserError(f"{where}the key '{path}' is missing.", "Add it; see a shipped recipe.")
    if first["type"] == "value_error":
        return UserError(f"{where}{first['ctx']['error']}.", "Mend the recipe or the override.")
    said = first["msg"][0].lower() + first["msg"][1:]
    return UserError(f"{where}{path} = {first['input']!r}: {said}.", "Mend the recipe or the override.")


def _nearest_key(model: type[Config], path: str, location: tuple[int | str, ...]) -> str:
    """What the user may have meant: that very key in another section, or one of like name beside it."""
    *parents, last = path.split(".")
    beside = _keys_beside(model, location)
    near = [".".join([*parents, name]) for name in difflib.get_close_matches(last, beside, 1)]
    meant = [found for found in _all_keys(model) if found.split(".")[-1] == last] or near
    return f"Did you mean '{meant[0]}'?" if meant else f"Known: {', '.join(beside)}."


def _all_keys(model: Any, prefix: str = "") -> list[str]:
    """Dotted paths of all keys of a config."""
    keys = []
    for name, described in model.model_fields.items():
        nested = isinstance(described.annotation, type) and issubclass(described.annotation, Config)
        keys += _all_keys(described.annotation, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return keys


def _keys_beside(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed where an unknown one stands."""
    for part in location[:-1]:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
