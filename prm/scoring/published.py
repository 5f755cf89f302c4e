"""Published PRMs that have no `prm.json`: their layouts, read without remote code; their texts: `prm.scoring.formats`.

`qwen_prm`: Qwen2.5-Math-PRM, Qwen2.5-Math-7B-PRM800K. Chat with a system turn, `<extra_0>` after each step; a two-class
head linear-ReLU-linear, `score.0.*` and `score.2.*` beside the backbone's `model.*`; class 1 is right.
`math_shepherd`: a causal language model; the problem, a space, the steps on lines, each ended by ` ки`; the softmax of
the tokens `+` and `-` there.
`skywork_prm`: Skywork-o1-Open-PRM. The problem, a newline, each step and a newline; the sigmoid of one value of the
hidden state there, `v_head.summary.*`.
`rlhflow_prm`: RLHFlow's Llama3.1-8B-PRM. A conversation in which each step is a turn, answered `+`; the softmax of `+`
and `-` where that answer begins.
`implicit_prm`: EurusPRM, see `prm.scoring.implicit`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from data.errors import UserError
from prm.aggregate import Reading
from prm.encode import EncoderConfig, StepEncoder
from prm.model import LoadedPrm, assemble, load_head, load_network
from prm.model_config import FILE, ModelForm, PrmConfig
from prm.scoring.formats import LABEL, ShepherdEncoder, SkyworkEncoder, TurnsEncoder

Layout = Literal["auto", "stepstar", "qwen_prm", "math_shepherd", "skywork_prm", "rlhflow_prm", "implicit_prm"]
_QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
_LABELS = ModelForm(form="tokens", right_token=LABEL, wrong_token="-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published layout."""

    config: PrmConfig
    encoder: Callable[[Any, EncoderConfig], StepEncoder] = StepEncoder
    head: Callable[[Path], dict[str, Any]] | None = None
    """The tensors of our head of form `config.model`, from a folder; None for form `tokens`."""
    architecture: str = ""
    """By which a checkpoint is known; empty where it cannot be told from any other language model."""


def _qwen_head(folder: Path) -> dict[str, Any]:
    return read_tensors(folder, r"score\.\d+\.(weight|bias)")


def _skywork_head(folder: Path) -> dict[str, Any]:
    """A value as two classes: the sigmoid of v is the softmax of (0, v)."""
    found = read_tensors(folder, r"v_head\.summary\.(weight|bias)")
    return {
        # A bias [1] and a weight [1, H] alike get a row of zeros, for "wrong", before them.
        name.replace("v_head.summary", "score.0"): torch.cat([torch.zeros_like(tensor), tensor])
        for name, tensor in found.items()
    }


PUBLISHED: dict[Layout, Published] = {
    "qwen_prm": Published(
        config=PrmConfig(
            model=ModelForm(head="mlp"),
            encoder=EncoderConfig(format="chat", system=_QWEN_SYSTEM, separator="<extra_0>", max_tokens=4096),
            reading=Reading(aggregation="product"),
        ),
        head=_qwen_head,
        architecture="Qwen2ForProcessRewardModel",
    ),
    "math_shepherd": Published(
        config=PrmConfig(
            model=_LABELS, encoder=EncoderConfig(separator="", max_tokens=4096), reading=Reading(aggregation="min")
        ),
        encoder=ShepherdEncoder,
    ),
    "skywork_prm": Published(
        config=PrmConfig(encoder=EncoderConfig(separator="\n", max_tokens=4096), reading=Reading(aggregation="last")),
        encoder=SkyworkEncoder,
        head=_skywork_head,
        architecture="Qwen2ForPrmModel",
    ),
    "rlhflow_prm": Published(
        config=PrmConfig(
            model=_LABELS,
            encoder=EncoderConfig(format="chat", separator="", max_tokens=8192),
            reading=Reading(aggregation="mean"),
        ),
        encoder=TurnsEncoder,
    ),
}


def find_layout(path: str) -> Layout:
    """The layout of a checkpoint folder by its `prm.json` or its architecture; `stepstar` where nothing else is known.

    Models that read label tokens, or are implicit, cannot be told from other language models: they must be named.
    """
    folder = Path(path)
    if (folder / FILE).is_file() or not (folder / "config.json").is_file():
        return "stepstar"
    architectures = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    found = (name for name, layout in PUBLISHED.items() if layout.architecture in architectures)
    return next(found, "stepstar")


def load_published(layout: Published, path: str, *, device: str, dtype: str) -> LoadedPrm:
    """Load a checkpoint of a published layout.

    Raises:
        UserError: it has no head of this layout, or its tokenizer not the tokens that it needs.
    """
    network, tokenizer, revision = load_network(path, layout.config.model, device=device, dtype=dtype)
    loaded = assemble(network, tokenizer, layout.config.model_copy(update={"revision": revision}), path)
    loaded.encoder = published_encoder(layout, tokenizer, path)
    if layout.head:
        load_head(loaded.model.head, layout.head(Path(path)), f"the head in '{path}'")
    return loaded


def published_encoder(layout: Published, tokenizer: Any, path: str) -> StepEncoder:
    """The encoder of a layout.

    Raises:
        UserError: the tokenizer lacks what its format needs.
    """
    mark = layout.config.encoder.separator
    if mark.strip() and mark not in tokenizer.get_added_vocab():
        raise UserError(f"the tokenizer of '{path}' has no token {mark}.", "Choose its layout.")
    return layout.encoder(tokenizer, layout.config.encoder)


def read_tensors(
    folder: Path, wanted: str, files: str = "*.safetensors", *, rows: list[int] | None = None
) -> dict[str, Any]:
    """The tensors of a folder's weight files whose names match, in float32.

    Args:
        folder: of the checkpoint.
        wanted: regular expression of the names.
        files: which files.
        rows: only these rows of each; the rest is not read.
    """
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for file in sorted(folder.glob(files)):
        with safe_open(str(file), framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118
                if re.fullmatch(wanted, name):
                    tensor = stream.get_slice(name)
                    found[name] = (tensor[:] if rows is None else tensor[rows]).float()
    return found
