"""`audit.html`: one self-contained file to read traces in, judge steps, and take the judgements home as labels.

Everything that a model wrote goes in as JSON that cannot end its element and comes out as text. The page's policy
allows its own script and style by their hashes and nothing else, so that even markup that got in could not run or load
anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.store import write_atomic
from pipelines.progress import say
from pipelines.report.audit_traces import AuditTraces, add_scores, as_plain, read_traces
from pipelines.run_dir import RunFolder
from prm.scoring.base import Scorer

_HERE = Path(__file__).parent
MAX_BYTES = 4_500_000
"""Of the traces on a page; beyond them the last problems are left out."""


def write_audit(
    folders: Sequence[Path], out: Path | None = None, *, limit: int = 2000, scorer: Scorer | None = None
) -> Path:
    """Write the audit page of one folder, or of two side by side.

    Args:
        folders: of runs or evaluations.
        out: the page; default: `audit.html` in the first folder.
        limit: traces on the page, about.
        scorer: scores all of them, besides the scores that are stored.

    Returns:
        The page.

    Raises:
        UserError: a folder is none of a run or an evaluation, or has no traces yet.
    """
    found = read_traces([RunFolder.read(folder) for folder in folders], limit)
    if not found.traces:
        raise UserError(f"'{folders[0]}' has no traces yet.", "Let it finish a round first.")
    if scorer:
        add_scores(found, scorer)
    file = out or folders[0] / "audit.html"
    title = " and ".join(folder.resolve().name for folder in folders)
    write_atomic(file, render_audit(found, title).encode())
    say(f"{file.name}: {len(found.traces)} of {found.total} traces, of {len(found.problems)} problems")
    return file


def render_audit(found: AuditTraces, title: str) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    script, style = ((_HERE / name).read_text(encoding="utf-8") for name in ("audit.js", "audit.css"))
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((_HERE / "audit.html.jinja").read_text(encoding="utf-8"))
    # Markup: two files of this package, and JSON without a single `<`.
    return str(template.render(title=title, policy=_policy(script, style), style=Markup(style), script=Markup(script),
                               data=Markup(_embedded(_within(as_plain(found))))))  # fmt: skip


def _policy(script: str, style: str) -> str:
    """The page's Content-Security-Policy."""
    own = f"script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(content: object) -> str:
    """JSON that may stand in a script element, whatever its texts hold."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("utf-8", "replace").decode()


def _within(content: dict[str, Any]) -> dict[str, Any]:
    """As many of the traces and their problems as the page has room for, in order."""
    room, seen = MAX_BYTES, 0
    kept: list[dict[str, Any]] = []
    for trace in content["traces"]:
        # Traces stand in the order of their problems.
        new = content["problems"][seen : trace["p"] + 1]
        room -= len(_embedded([trace, new]).encode())
        if room < 0:
            break
        kept.append(trace)
        seen = max(seen, trace["p"] + 1)
    return {**content, "problems": content["problems"][:seen], "traces": kept}
