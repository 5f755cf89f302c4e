"""Published PRMs that have no `prm.json`: their layouts and formats, read without remote code.

`qwen_prm`: Qwen2.5-Math-PRM and Qwen2.5-Math-7B-PRM800K. Chat format with a system turn, `<extra_0>` after each step, a
two-class head linear-ReLU-linear whose weights are `score.0.*` and `score.2.*` beside the backbone's `model.*`; class 1
is right. `math_shepherd`: a causal language model; the text is the problem, a space, and the steps on lines of their
own, each ended by ` ки`; the score is the softmax over the two tokens `+` and `-` there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from data.errors import UserError
from data.sources.base import RowError
from prm.aggregate import Reading
from prm.encode import EncodedSteps, EncoderConfig, StepEncoder
from prm.model import LoadedPrm, assemble, load_head, load_network
from prm.model_config import FILE, ModelForm, PrmConfig

Layout = Literal["auto", "stepstar", "qwen_prm", "math_shepherd"]

_QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
_QWEN = PrmConfig(
    model=ModelForm(head="mlp"),
    encoder=EncoderConfig(format="chat", system=_QWEN_SYSTEM, separator="<extra_0>", max_tokens=4096),
    reading=Reading(aggregation="product"),
)
_SHEPHERD = PrmConfig(
    model=ModelForm(form="tokens", right_token="+", wrong_token="-"),
    encoder=EncoderConfig(separator="", max_tokens=4096),
    reading=Reading(aggregation="min"),
)
_TAG = "ки"


def find_layout(path: str) -> Layout:
    """The layout of a checkpoint folder by its `prm.json` or its architecture; `stepstar` where nothing else is known.

    A Math-Shepherd model cannot be told from any other language model: it must be named.
    """
    folder = Path(path)
    if (folder / FILE).is_file() or not (folder / "config.json").is_file():
        return "stepstar"
    architectures = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    return "qwen_prm" if "Qwen2ForProcessRewardModel" in architectures else "stepstar"


def load_qwen_prm(path: str, *, device: str, dtype: str) -> LoadedPrm:
    """Load a checkpoint of Qwen2.5-Math-PRM's layout.

    Raises:
        UserError: it has no head of this layout, or its tokenizer no `<extra_0>`.
    """
    network, tokenizer, revision = load_network(path, _QWEN.model, device=device, dtype=dtype)
    if _QWEN.encoder.separator not in tokenizer.get_added_vocab():
        raise UserError(f"the tokenizer of '{path}' has no token {_QWEN.encoder.separator}.", "Choose its layout.")
    loaded = assemble(network, tokenizer, _QWEN.model_copy(update={"revision": revision}), path)
    load_head(
        loaded.model.head, _tensors(Path(path), re.compile(r"score\.\d+\.(weight|bias)")), f"the head in '{path}'"
    )
    return loaded


def load_math_shepherd(path: str, *, device: str, dtype: str) -> LoadedPrm:
    """Load a checkpoint of Math-Shepherd's layout.

    Raises:
        UserError: `+` or `-` is not one token of its tokenizer.
    """
    network, tokenizer, revision = load_network(path, _SHEPHERD.model, device=device, dtype=dtype)
    loaded = assemble(network, tokenizer, _SHEPHERD.model_copy(update={"revision": revision}), path)
    loaded.encoder = ShepherdEncoder(tokenizer, _SHEPHERD.encoder)
    return loaded


class ShepherdEncoder(StepEncoder):
    """Math-Shepherd's text: `problem Step 1: ... ки`, newline, `Step 2: ... ки`."""

    def __init__(self, tokenizer: Any, config: EncoderConfig) -> None:
        super().__init__(tokenizer, config)
        self._after = ""  # The problem is followed by a space, which belongs to the first step's first token.

    def encode(self, problem: str, steps: Sequence[str]) -> EncodedSteps:
        """Token ids, and the place of the tag that ends each step; see `StepEncoder.encode`."""
        for index, step in enumerate(steps):
            if _TAG in step:
                raise RowError("separator_in_step", f"step {index + 1} holds the separator {_TAG!r}")
            if not step.strip():
                raise RowError("empty_step", f"step {index + 1} is empty")
        tagged = [f"{step.strip()} {_TAG}" for step in steps]
        return super().encode(problem, [f" {tagged[0]}", *(f"\n{step}" for step in tagged[1:])] if tagged else [])


def _tensors(folder: Path, wanted: re.Pattern[str]) -> dict[str, Any]:
    """The tensors of a folder's weight files whose names match."""
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as stream:
            found |= {name: stream.get_tensor(name) for name in stream.keys() if wanted.fullmatch(name)}  # noqa: SIM118
    return found
