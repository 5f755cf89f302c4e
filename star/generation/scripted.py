"""The `scripted` engine: answers from a function or a file, for tests and dry runs of generation without a model.

A script maps a request to text. The file form is a JSON object of prompt to text or to a list of texts, of which the
request's seed picks one; a prompt that the file does not hold gives an error completion, not a guess.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from data.errors import InputError
from data.ids import content_id
from data.records import FinishReason
from star.generation.base import Completion, Request, failed

Script = Callable[[Request], str | None]


class ScriptedGenerator:
    """Answers each request by a script.

    Args:
        script: text for a request, or None for an error completion.
        name: stands as the model's name.
        content: what the script answers, hashed into its revision.
    """

    engine = "scripted"

    def __init__(self, script: Script, *, name: str = "scripted", content: str = "") -> None:
        self._script = script
        self.model = name
        self.revision = content_id("scripted", name, content)

    @classmethod
    def from_file(cls, path: str) -> ScriptedGenerator:
        """Read a JSON object of prompt to text or list of texts.

        Raises:
            InputError: the file is missing or is not such an object.
        """
        file = Path(path)
        if not file.is_file():
            raise InputError(f"no script file '{path}'.", "Give a JSON object of prompt to text or list of texts.")
        try:
            text = file.read_text(encoding="utf-8")
            answers = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}: {error.msg}.", "Give a JSON object.") from error
        if not isinstance(answers, dict):
            raise InputError(f"{path}: not a JSON object.", "Give a JSON object of prompt to text or list of texts.")
        return cls(lambda request: _pick(answers.get(request.prompt), request.seed), name=file.name, content=text)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion for each request, in order; a word counts as a token."""
        for request in requests:
            text = self._script(request)
            if text is None:
                yield failed(request, "the script has no answer to this prompt")
                continue
            words = text.split(" ")
            cut = len(words) > request.sampling.max_tokens
            kept = words[: request.sampling.max_tokens]
            yield Completion(
                request_id=request.id,
                text=" ".join(kept),
                token_ids=tuple(range(len(kept))),
                finish_reason=FinishReason.LENGTH if cut else FinishReason.STOP,
            )

    def close(self) -> None:
        """Nothing to free."""


def _pick(answer: str | list[str] | None, seed: int) -> str | None:
    return answer[seed % len(answer)] if isinstance(answer, list) else answer
