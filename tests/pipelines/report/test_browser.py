"""The pages in a real browser: they load without a complaint, do what they say, and run nothing that a model wrote.

Needs Chromium (Debian: `apt install chromium`) and Playwright's client (`pip install playwright`, not its browsers).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.records import Status
from pipelines.prm.label_files import Unusable, read_label_rows
from pipelines.prm.labelling import label_from_audit
from pipelines.report.audit import render_audit, write_audit
from pipelines.report.audit_traces import AuditTrace, AuditTraces
from pipelines.report.page import write_report
from pipelines.run_dir import RunFolder
from prm.aggregate import Reading
from tests.pipelines.audit_folders import HOSTILE, problem, rationale, verdict, write_run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
PATIENCE_MS = 120_000
"""After so many milliseconds a test that waits for something has failed."""

# A prompt or an answer in the list of traces and in the report is text, so this is what must never be there.
ELEMENTS = (
    "img, iframe, object, form, base, link, a[href^=javascript], svg[onload], body[onload], meta[http-equiv=refresh]"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Chromium refuses its own sandbox to root, as which CI runs.
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [], timeout=PATIENCE_MS
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Report and audit page of a run whose every text is hostile, and the audit page of a plain one."""
    root = tmp_path_factory.mktemp("pages")
    hostile, plain = write_run(root / "hostile", HOSTILE), write_run(root / "plain", ["one", "two", "three", "four"])
    return {
        "report": write_report(RunFolder.read(hostile.root)),
        "audit": write_audit([hostile.root]),
        "plain": write_audit([plain.root]),
        "both": write_audit([plain.root, hostile.root], root / "both.html"),
    }


class Visit:
    """A page that is open, and whatever it complained of or asked for."""

    def __init__(self, browser: Any, file: Path, width: int = 1200, anchor: str = "") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 800}, accept_downloads=True)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri() + anchor)

    def count(self) -> int:
        """Traces in the list."""
        return int(self.page.locator("#list .row").count())

    def chosen(self) -> str:
        """Prompt of the trace that is open."""
        return str(self.page.inner_text("#detail .prompt"))


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    opened: list[Visit] = []

    def go(file: Path, width: int = 1200, anchor: str = "") -> Visit:
        opened.append(Visit(browser, file, width, anchor))
        return opened[-1]

    yield go
    for one in opened:
        one.context.close()


@pytest.mark.parametrize("name", ["report", "audit"])
def test_twenty_injections_run_nothing_load_nothing_and_are_shown_as_text(
    name: str, visit: Any, pages: dict[str, Path]
) -> None:
    seen = visit(pages[name])
    if name == "audit":
        for _ in range(2 * len(HOSTILE)):
            seen.page.keyboard.press("j")
        seen.page.keyboard.press("b")
    seen.page.wait_for_timeout(100)
    assert seen.complaints == []
    assert seen.requests == [pages[name].as_uri()]
    assert seen.page.evaluate("window.hacked") is None
    assert seen.page.locator(f"#list :is({ELEMENTS}), #detail :is({ELEMENTS}), details :is({ELEMENTS})").count() == 0
    # The report shows four rationales of each fate, the audit page all of them.
    text = seen.page.text_content("#list" if name == "audit" else "body")
    assert sum(one[:20] in text for one in HOSTILE) >= (20 if name == "audit" else 4)


@pytest.mark.parametrize("name", ["report", "audit", "both"])
def test_pages_are_readable_on_a_phone(name: str, visit: Any, pages: dict[str, Path]) -> None:
    seen = visit(pages[name], 400)
    assert seen.complaints == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 400


def test_every_filter_leaves_what_it_says(visit: Any, pages: dict[str, Path]) -> None:
    seen = visit(pages["plain"])
    page = seen.page
    assert seen.count() == 8
    for act, expected in (
        (lambda: page.select_option("#verdict", "correct"), 4),
        (lambda: page.select_option("#origin", "rationalized"), 4),
        (lambda: page.select_option("#round", "1"), 8),
        (lambda: page.fill("#below", "0.5"), 4),
        (lambda: page.check("#disagree"), 4),
        (lambda: page.check("#mistaken"), 2),
        (lambda: page.check("#leak"), 1),
        (lambda: page.fill("#search", "THREE 99"), 1),
        (lambda: page.fill("#search", "no such text"), 0),
    ):
        act()
        assert seen.count() == expected
        page.click("#reset")
        assert seen.count() == 8
    page.select_option("#order", "score")
    assert "low 0.10" in page.inner_text("#list .row >> nth=0")
    assert not page.is_visible("#runs")
    assert seen.complaints == []


def test_from_the_report_one_click_leads_to_the_steps_that_the_prm_gets_wrong(
    visit: Any, pages: dict[str, Path]
) -> None:
    seen = visit(pages["report"])
    page = seen.page
    half = f"{len(HOSTILE) // 2} of {len(HOSTILE)}"
    assert half in page.inner_text("body")
    page.click("text=steps that the PRM gets wrong")
    assert seen.count() == len(HOSTILE) // 2
    assert f"prm misses {half} wrong steps" in page.inner_text("#count")
    assert "misses a wrong step" in page.inner_text(".step.current")
    assert seen.complaints == []


def test_mistakes_of_the_prm_are_listed_once_each_and_the_worst_first(visit: Any, tmp_path: Path) -> None:
    """Read at its own threshold: 0.55 is a doubt where the line is 0.6."""
    right, wrong = problem(5), problem(6)
    rows = [rationale(right, "5+1=6\n6-1=5\n#### 5", seed) for seed in range(2)]
    rows += [rationale(wrong, "6-1=5\n5+1=8\n#### 8", 2), rationale(right, "5-1=4\n4+1=5\n#### 5", 3)]
    scores = [[0.55, 0.9, 0.9], [0.55, 0.9, 0.9], [0.5, 0.9, 0.1], [0.9, 0.9, 0.9]]
    reading = {"prm": Reading(threshold=0.6)}
    traces = [
        AuditTrace("run", row, verdict(row, Status.INCORRECT if row.problem_id == wrong.id else Status.CORRECT), None,
                   {"symbolic": [1.0, 1.0, None]}, {"prm": said}, readings=reading)
        for row, said in zip(rows, scores, strict=True)
    ]  # fmt: skip
    found = AuditTraces({one.id: one for one in (right, wrong)}, traces, len(traces))
    (tmp_path / "audit.html").write_text(render_audit(found, "mistakes"), encoding="utf-8")
    seen = visit(tmp_path / "audit.html", anchor="#mistaken")
    page = seen.page
    assert seen.count() == 2
    assert "prm misses 1 of 1 wrong steps and doubts 3 of 10 right ones" in page.inner_text("#count")
    assert "PRM misses 2 · PRM doubts 1" in page.inner_text("#list .row >> nth=0")
    assert "prm misses a wrong step" in page.inner_text(".step.current")
    assert "PRM doubts 1 · 2 times" in page.inner_text("#list .row >> nth=1")
    page.keyboard.press("j")
    assert "prm doubts a right step, its line is 0.60" in page.inner_text(".step.current")
    assert page.locator(".step.current .chip.wrong").inner_text() == "prm 0.55"
    page.click("#reset")
    assert seen.count() == 4
    assert "times" not in page.inner_text("#list")
    assert seen.complaints == []


def test_keys_walk_the_traces_and_steps(visit: Any, pages: dict[str, Path]) -> None:
    seen = visit(pages["plain"])
    page, first = seen.page, seen.chosen()
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert seen.chosen() != first
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.keyboard.press("k")
    assert seen.chosen() == first
    page.keyboard.press("n")
    assert page.locator(".step").nth(1).get_attribute("class") == "step current"
    page.keyboard.press("/")
    page.keyboard.type("jjf")
    assert page.input_value("#search") == "jjf"
    page.keyboard.press("Escape")
    page.click("#reset")
    page.keyboard.press("b")
    assert page.locator(".side").count() == 2
    page.keyboard.press("b")
    assert page.locator(".side").count() == 1
    assert seen.complaints == []


def test_decisions_survive_a_reload_download_and_come_back_as_human_labels(
    visit: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    seen = visit(pages["audit"])
    page = seen.page
    page.select_option("#verdict", "correct")
    page.keyboard.press("a")
    page.keyboard.press("f")
    page.keyboard.press("j")
    page.keyboard.press("f")
    page.keyboard.press("p")
    page.keyboard.press("u")
    page.keyboard.press("j")
    page.keyboard.press("A")
    page.reload()
    assert page.inner_text("#download") == "download decisions (2)"
    with page.expect_download() as waiting:
        page.keyboard.press("d")
    waiting.value.save_as(tmp_path / "audit.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2
    counts = label_from_audit(tmp_path / "audit.jsonl", tmp_path / "labels.jsonl")
    assert counts.solutions == 2
    found = [one for _, ones in read_label_rows(str(tmp_path / "labels.jsonl"), "auto", Unusable()) for one in ones]
    flagged, accepted = sorted(found, key=lambda row: row.first_error < 0)
    assert flagged.values[:2] == (1.0, 0.0)
    assert set(flagged.values[2:]) == {None}
    assert set(accepted.values) == {1.0}
    assert {row.source for row in found} == {"human"}
    # To the letter: the labels find the rationales that they were made on.
    run = RunFolder.read(pages["audit"].parent)
    steps = {row.id: row.steps for row in run.table("rationales")}
    assert all(steps[row.row_id] == row.steps for row in found)
