"""Scoring: a PRM as something that takes a problem and steps and gives one probability a step.

from prm import load_scorer
scorer = load_scorer("runs/mine/checkpoints/prm")
scorer.score("2+3-1=?", ["2+3=5", "5-1=4"]).scores
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from data.config import Config
from data.errors import UserError
from prm.scoring.base import Scorer

if TYPE_CHECKING:
    from prm.scoring.published import Layout

BACKENDS = ("transformers", "vllm", "http")
LAYOUTS = ("auto", "stepstar", "qwen_prm", "math_shepherd", "skywork_prm", "rlhflow_prm", "implicit_prm")

C = TypeVar("C", bound=Config)


def load_scorer(
    path: str,
    backend: str = "transformers",
    *,
    layout: Layout = "auto",
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int = 4096,
    share_prefix: bool = True,
    reference: str = "",
    beta: float = 0.001,
    options: Mapping[str, Any] | None = None,
) -> Scorer:
    """Load a PRM for scoring.

    Args:
        path: folder of a checkpoint, or its hub id.
        backend: `transformers`; `vllm`; or `http`, for which the folder must be here too, its weights at the server.
        layout: `auto` knows checkpoints with a `prm.json` and the architectures of Qwen2.5-Math-PRM and
            Skywork-o1-Open-PRM; the others of `prm.scoring.published` must be named.
        device: `auto` (an accelerator if there is one) or a torch device; for `transformers`.
        dtype: `auto` (bfloat16 on an accelerator, float32 elsewhere) or a torch dtype by name.
        batch_tokens: tokens of one forward pass, padding included; lower it when memory is short. More than the
            default is slower on a CPU, whose caches a pass no longer fits.
        share_prefix: whether samples of one problem share its prompt.
        reference: for `implicit_prm`: the model that it was trained from.
        beta: for `implicit_prm`: scale of the log-ratio, in 1/nats; EurusPRM's by default.
        options: fields of the backend's config, `VllmConfig` or `HttpConfig`.

    Raises:
        UserError: no such backend or layout, or the checkpoint cannot be used.
        DependencyError: the backend's package is not installed.
    """
    for kind, name, names in (("backend", backend, BACKENDS), ("layout", layout, LAYOUTS)):
        if name not in names:
            raise UserError(f"no {kind} '{name}' for scoring.", f"Use {' or '.join(names)}.")
    from prm.model_config import local_folder

    folder = str(local_folder(path))
    if backend != "transformers":
        return _load_elsewhere(path, folder, backend, layout, dtype, options or {})
    _parsed(Config, options or {})
    from prm.model import load_prm
    from prm.scoring.implicit import load_implicit, scorer_of
    from prm.scoring.published import PUBLISHED, find_layout, load_published

    name = find_layout(folder) if layout == "auto" else layout
    if name == "implicit_prm":
        pair = load_implicit(path, folder, reference, beta, device=device, dtype=dtype)
        pair.batch_tokens, pair.share_prefix = batch_tokens, share_prefix
        return pair
    if name in PUBLISHED:
        loaded = load_published(PUBLISHED[name], folder, device=device, dtype=dtype)
    else:
        loaded = load_prm(folder, device=device, dtype=dtype)
    loaded.name = path
    return scorer_of(loaded, batch_tokens=batch_tokens, share_prefix=share_prefix)


def check_scorer(path: str) -> None:
    """Find what `load_scorer(path)` would object to, as far as it shows without loading weights.

    Raises:
        UserError: there is no such folder or hub model, it is incomplete, or nothing says how its steps are read.
    """
    from data.model_folder import check_folder
    from prm.model_config import local_folder, read_config
    from prm.scoring.published import PUBLISHED, find_layout

    folder = local_folder(path)
    check_folder(folder)
    if find_layout(str(folder)) not in PUBLISHED:
        read_config(folder)


def _load_elsewhere(
    path: str, folder: str, backend: str, layout: Layout, dtype: str, options: Mapping[str, Any]
) -> Scorer:
    """A scorer whose network runs in vLLM's processes or at a server."""
    from prm.scoring.http_backend import HttpConfig, HttpScorer
    from prm.scoring.readout import load_readout
    from prm.scoring.vllm_backend import NATIVE, VllmConfig, VllmScorer

    if backend == "http":
        config = _parsed(HttpConfig, options)
        return HttpScorer(load_readout(folder, layout, native=NATIVE, label_rows=False), path, config)
    settings = _parsed(VllmConfig, {"dtype": dtype} | dict(options))
    return VllmScorer(load_readout(folder, layout, native=NATIVE), path, settings)


def _parsed(kind: type[C], options: Mapping[str, Any]) -> C:
    """Options as a backend's config.

    Raises:
        UserError: an option is missing, unknown or out of range.
    """
    try:
        return kind(**options)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"]))
        known = ", ".join(kind.model_fields) or "none"
        raise UserError(f"backend option '{option}': {first['msg']}.", f"The options are: {known}.") from error
