"""Many problems: seconds and peak memory of a run that samples, checks, rationalizes, selects, labels and reports.

    python tests/benchmarks/million.py [--problems 10000,100000,1000000] [--out RESULT.json]

Each size is a process of its own: `run_recipe` with `sft.enabled: false` on a file of sums, one sample each, answered
by the scripted engine (a function: seven in eight right, the others right when they see the answer). The pipeline's own
cost is the CPU time of the process and its children less that of the engine's function and of the verifiers (answers
and steps), which are measured in the same process by themselves. A curve is drawn beside the result.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

RECIPE = """
name: million
model: {name: SCRIPT}
problems: {source: local, path: PATH, options: {kind: math}}
evaluation: {source: arithmetic, split: test, options: {n: 10, difficulty: [1]}}
prompt: arithmetic
engine: {type: scripted}
sampling: {n: 1, max_tokens: 64}
rationalization: {temperature: 0.8}
sft: {enabled: false}
rounds: 1
shard_size: 1000
"""
_SUM = re.compile(r"(\d+)\+(\d+)=\?(?: \((\d+)\))?")


def write_problems(file: Path, n: int) -> None:
    """A file of different sums."""
    with file.open("w") as stream:
        for place in range(n):
            first, second = 1000 + place // 1000, 1 + place % 1000
            print(json.dumps({"prompt": f"{first}+{second}=?", "answer": str(first + second)}), file=stream)


def answer(prompt: str) -> str:
    """A worked sum, wrong for one in eight unless the answer is shown."""
    found = _SUM.search(prompt)
    if not found:
        return "No sum."
    first, second, hint = found.groups()
    total = int(first) + int(second)
    if not hint and (int(first) * 7 + int(second)) % 8 == 0:
        total += 1
    return f"{first}+{second}={total}\n#### {total}"


def run(n: int) -> dict[str, float]:
    """One run; seconds and memory."""
    from data.steps import split_steps
    from pipelines.overrides import read_yaml
    from pipelines.recipe import parse_recipe
    from pipelines.run import run_recipe
    from pipelines.stages.policy import Policy
    from prm.labels import label_symbolic
    from star.generation.scripted import ScriptedGenerator
    from verifiers import check_answers

    spent = [0.0]

    def script(request: Any) -> str:
        started = time.thread_time()
        text = answer(request.prompt)
        spent[0] += time.thread_time() - started
        return text

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "problems.jsonl"
        write_problems(file, n)
        (Path(folder) / "none.json").write_text("{}")
        text = RECIPE.replace("PATH", str(file)).replace("SCRIPT", f"{folder}/none.json")
        content = read_yaml(text, "recipe")
        policy = Policy("scripted", "scripted", "script", 0, "scripted", 64)
        policy.use(ScriptedGenerator(script))
        started, wall = cpu_seconds(), time.monotonic()
        found = run_recipe(parse_recipe(content, where="recipe"), Path(folder) / "run", start=policy)
        seconds, wall = cpu_seconds() - started, time.monotonic() - wall
        kept = found.manifest["notes"]["dataset_rows"]
        samples = sum(1 for _ in found.table("verdicts"))
        stages = {name: costs["seconds"] for name, costs in found.manifest["stages"].items()}
        size = sum(file.stat().st_size for file in (Path(folder) / "run").rglob("*.*") if file.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    texts = [answer(f"{999 + place}+1=?") for place in range(min(n, 20_000))]
    started = cpu_seconds()
    check_answers([(str(1000 + place), text) for place, text in enumerate(texts)], kind="text")
    answers = (cpu_seconds() - started) / len(texts)
    started = cpu_seconds()
    for place, text in enumerate(texts):
        label_symbolic(f"{999 + place}+1=?", split_steps(text))
    steps = (cpu_seconds() - started) / len(texts)
    # Steps are checked for the labels of what is kept and for the leak test of what was rationalized.
    own = seconds - spent[0] - answers * samples - steps * (kept + samples - n)
    return {
        "problems": n, "samples": samples, "dataset rows": kept, "wall s": round(wall, 1), "CPU s": round(seconds, 1),
        "answer check ms": round(1000 * answers, 3), "step check ms": round(1000 * steps, 3),
        "own ms a sample": round(1000 * own / samples, 3),
        "peak MB": round(peak, 0), "MB on disk": round(size / 1e6, 0), "stages": stages,
    }  # fmt: skip


def cpu_seconds() -> float:
    """Of this process and its children, those that live (the verifier's pool) and those that ended."""
    me = psutil.Process()
    times = [me.cpu_times(), *(child.cpu_times() for child in me.children(recursive=True))]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(found.user + found.system for found in times) + ended.ru_utime + ended.ru_stime


def plot(rows: list[dict[str, Any]]) -> str:
    """CPU seconds and peak memory over problems, as SVG; all axes but that of memory are logarithmic."""
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 300" font-family="sans-serif" font-size="12">',
             '<rect width="700" height="300" fill="white"/>']  # fmt: skip
    n = [math.log10(row["problems"]) for row in rows]
    seconds, memory = [math.log10(row["CPU s"]) for row in rows], [row["peak MB"] / 1500 for row in rows]
    low, high = min(seconds) - 0.2, max(seconds) + 0.2
    panels = (("CPU seconds", [(value - low) / (high - low) for value in seconds], "CPU s"),
              ("peak memory, MB (top: the 1,500 allowed)", memory, "peak MB"))  # fmt: skip
    for at, (title, heights, name) in enumerate(panels):
        left = 50 + 350 * at
        xs = [left + 20 + 220 * (value - n[0]) / ((n[-1] - n[0]) or 1) for value in n]
        ys = [250 - 200 * height for height in heights]
        line = " ".join(f"{x:.0f},{y:.0f}" for x, y in zip(xs, ys, strict=True))
        parts += [f'<text x="{left}" y="30">{title}</text>',
                  f'<rect x="{left}" y="50" width="270" height="200" fill="none" stroke="#999"/>',
                  f'<polyline fill="none" stroke="#2f6fdb" points="{line}"/>']  # fmt: skip
        for x, y, row in zip(xs, ys, rows, strict=True):
            parts += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="#2f6fdb"/>',
                      f'<text x="{x:.0f}" y="{y - 10:.0f}" text-anchor="middle">{row[name]:,.0f}</text>',
                      f'<text x="{x:.0f}" y="268" text-anchor="middle">{row["problems"]:,}</text>']  # fmt: skip
        parts.append(f'<text x="{left + 135}" y="288" text-anchor="middle">problems</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """All sizes, each in its own process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", default="10000,100000,1000000")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=int)
    found = parser.parse_args()
    if found.one:
        print(json.dumps(run(found.one)))
        return
    rows: list[dict[str, Any]] = []
    for n in map(int, found.problems.split(",")):
        command = [sys.executable, __file__, "--one", str(n)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    result: dict[str, Any] = {"runs": rows}
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        result["exponent"] = round(
            math.log(last["CPU s"] / first["CPU s"]) / math.log(last["problems"] / first["problems"]), 3
        )
        print("exponent", result["exponent"])
    if found.out:
        found.out.write_text(json.dumps(result, indent=1) + "\n")
        found.out.with_suffix(".svg").write_text(plot(rows))


if __name__ == "__main__":
    main()
