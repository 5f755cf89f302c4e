"""What does an engine of ours cost over its backend's own interface, called with the same requests?

    python tests/benchmarks/engine_overhead.py transformers|decoding|vllm|http [REPETITIONS] [OUT.json]

Ours and theirs take turns in one run, after a turn of each that does not count. Prints the seconds of each, as overhead
the median over the repetitions of ours / theirs - 1 with its interquartile range, and the same of the CPU time, which
other work on the machine disturbs less. OUT.json keeps the figures by engine; stored in
`tests/benchmarks/results/engine_overhead.json`.

Both get prompts as text and give text.

- transformers: against the tokenizer, `model.generate` and `batch_decode`, greedy, in batches of the same requests.
- decoding: the engine against its own decoding function, with batches that were tokenized beforehand and no texts.
- vllm: against `LLM.generate` of an engine set up alike, given all prompts at once (needs vLLM).
- http: against a bare httpx loop with as many connections, on a server that answers after 20 ms.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from data.prompts import PromptTemplate
from data.sources.arithmetic import read_arithmetic
from star import load_generator
from star.checkpoints import EMBEDDED
from star.generation import Request, SamplingParams

BATCH = 64
AT_ONCE = 8
N_HTTP = 600
ANSWER = {"message": {"content": "12 + 3 = 15\n#### 15"}, "finish_reason": "stop", "token_ids": list(range(14))}
ANSWER["logprobs"] = {"content": [{"token": "1", "logprob": -0.25} for _ in range(14)]}

Run = Callable[[], int]
"""Draws everything once and returns how many tokens or samples came out."""
Figures = dict[str, float | list[float]]


def requests(n_problems: int, n: int, temperature: float) -> list[Request]:
    """Arithmetic problems, `n` samples each."""
    template, sampling = PromptTemplate("arithmetic"), SamplingParams(temperature=temperature, max_tokens=60)
    rows = list(read_arithmetic({"n": n_problems, "difficulty": [1, 2, 3], "seed": 5}))[:n_problems]
    return [
        Request(id=f"{row.id}/{place}", prompt=template.render(row), seed=100 * index + place, sampling=sampling)
        for index, row in enumerate(rows)
        for place in range(n)
    ]


def compare(ours: Run, theirs: Run, repetitions: int) -> Figures:
    """Time both in turns and print."""
    found: dict[str, list[float]] = {"ours": [], "theirs": []}
    cpu: dict[str, float] = {"ours": 0.0, "theirs": 0.0}
    for repetition in range(repetitions + 1):
        # Who goes first changes, so that a drift of the machine favours nobody.
        turns = [("ours", ours), ("theirs", theirs)][:: 1 if repetition % 2 else -1]
        counts = set()
        for name, run in turns:
            began, used = time.perf_counter(), time.process_time()
            counts.add(run())
            if repetition:
                found[name].append(time.perf_counter() - began)
                cpu[name] += time.process_time() - used
        assert len(counts) == 1, f"both must draw the same, not {counts}"
    for name, seconds in found.items():
        print(f"{name:7} {' '.join(f'{one:.3f}' for one in seconds)} s")
    ratios = [100 * (ours / theirs - 1) for ours, theirs in zip(found["ours"], found["theirs"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    used_more = 100 * (cpu["ours"] / cpu["theirs"] - 1)
    print(f"overhead {middle:+.1f} % ({low:+.1f} to {high:+.1f})")
    print(f"CPU time of this process, all repetitions: {used_more:+.1f} %")
    return {
        "overhead_percent": round(middle, 2),
        "quartiles_percent": [round(low, 2), round(high, 2)],
        "cpu_overhead_percent": round(used_more, 2),
        **{f"{name}_s": [round(one, 3) for one in seconds] for name, seconds in found.items()},
    }


def measure_transformers(repetitions: int) -> Figures:
    """The engine against `model.generate`."""
    import torch

    from star.checkpoints import load_checkpoint
    from star.generation.transformers_engine import TransformersGenerator

    torch.set_num_threads(1)
    loaded, wanted = load_checkpoint("embedded"), requests(384, 1, 0.0)
    generator, eos = TransformersGenerator(loaded, batch_size=BATCH), loaded.tokenizer.eos_token_id

    def theirs() -> int:
        n_tokens, texts = 0, list[str]()
        for start in range(0, len(wanted), BATCH):
            prompts = [row.prompt for row in wanted[start : start + BATCH]]
            batch = loaded.tokenizer(prompts, padding=True, return_tensors="pt")
            ids, mask = batch["input_ids"], batch["attention_mask"]
            out = loaded.model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=60)[:, ids.shape[1] :]
            texts += loaded.tokenizer.batch_decode(out, skip_special_tokens=True)
            ended = out == eos
            n_tokens += int((ended.cumsum(-1) - ended.long() == 0).sum())
        return n_tokens

    return compare(lambda: sum(row.n_tokens for row in generator.generate(wanted)), theirs, repetitions)


def measure_decoding(repetitions: int) -> Figures:
    """The engine against `decode`."""
    import torch

    from star.checkpoints import load_checkpoint
    from star.encoding import encode_prompt, eos_id, pad_id
    from star.generation.decoding import Row, decode
    from star.generation.transformers_engine import TransformersGenerator

    torch.set_num_threads(1)
    loaded, wanted = load_checkpoint("embedded"), requests(96, 4, 1.0)
    generator = TransformersGenerator(loaded, batch_size=BATCH)
    encoded = [(encode_prompt(loaded.tokenizer, row.prompt), row.seed) for row in wanted]
    eos, pad = frozenset([eos_id(loaded.tokenizer)]), pad_id(loaded.tokenizer)

    def theirs() -> int:
        n_tokens = 0
        for start in range(0, len(encoded), BATCH):
            rows = [Row(ids, seed) for ids, seed in encoded[start : start + BATCH]]
            decode(loaded.model, rows, wanted[0].sampling, eos_ids=eos, pad_id=pad)
            n_tokens += sum(len(row.tokens) for row in rows)
        return n_tokens

    return compare(lambda: sum(row.n_tokens for row in generator.generate(wanted)), theirs, repetitions)


def measure_vllm(repetitions: int) -> Figures:
    """The engine against `LLM.generate` of a second engine set up alike."""
    from star.generation.vllm_setup import VllmConfig, start_vllm, vllm_params

    options = {"kv_cache_memory_bytes": 1 << 28, "enforce_eager": True}
    # Greedy, so that both do the same work to the token.
    wanted = requests(96, 4, 0.0)
    with closing(load_generator("embedded", engine="vllm", batch_size=BATCH, **options)) as generator:
        llm = start_vllm(str(EMBEDDED), None, VllmConfig(**options), BATCH)
        prompts = [row.prompt for row in wanted]
        params = [vllm_params(row.sampling, row.seed) for row in wanted]
        for one in params:
            one.detokenize = True

        def theirs() -> int:
            outputs = llm.generate(prompts, params, use_tqdm=False)
            return sum(len(output.outputs[0].token_ids) for output in outputs)

        figures = compare(lambda: sum(row.n_tokens for row in generator.generate(wanted)), theirs, repetitions)
        llm.llm_engine.engine_core.shutdown()
    return figures


def serve(port: Any) -> None:
    """A server that answers every request after 20 ms; asyncio, so that it is not what is measured."""
    body = json.dumps({"choices": [ANSWER]}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Ends when the client hangs up.
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(0.02)
                writer.write(answer)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def measure_http(repetitions: int) -> Figures:
    """The engine against httpx with a semaphore."""
    import httpx

    receiver, sender = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(sender,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{receiver.recv()}/v1"
    wanted = requests(N_HTTP, 1, 1.0)
    with closing(load_generator("m", engine="http", batch_size=AT_ONCE, base_url=url, server="vllm")) as generator:
        loop = asyncio.new_event_loop()
        client = httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=AT_ONCE))
        figures = compare(
            lambda: len([row.text for row in generator.generate(wanted)]),
            lambda: len(loop.run_until_complete(_bare(client, url, wanted))),
            repetitions,
        )
        loop.run_until_complete(client.aclose())
        loop.close()
    server.kill()
    return figures


async def _bare(client: Any, url: str, wanted: Sequence[Request]) -> list[str]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def ask(row: Request) -> str:
        async with slots:
            body = {
                "model": "m",
                "messages": [{"role": "user", "content": row.prompt}],
                "seed": row.seed,
                "max_tokens": row.sampling.max_tokens,
                "logprobs": True,
            }
            response = await client.post(f"{url}/chat/completions", json=body)
        return str(response.json()["choices"][0]["message"]["content"])

    return await asyncio.gather(*map(ask, wanted))


def main() -> None:
    """Measure one engine, print and store."""
    measures = {
        "transformers": measure_transformers,
        "decoding": measure_decoding,
        "vllm": measure_vllm,
        "http": measure_http,
    }
    engine, *rest = sys.argv[1:]
    figures = measures[engine](int(rest[0]) if rest else 7)
    if len(rest) > 1:
        out = Path(rest[1])
        stored = json.loads(out.read_text()) if out.exists() else {}
        out.write_text(json.dumps(stored | {engine: figures}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
