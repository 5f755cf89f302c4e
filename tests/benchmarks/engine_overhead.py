"""What does an engine of ours cost over its backend's own interface, called with the same requests?

    python tests/benchmarks/engine_overhead.py transformers|vllm|http [REPETITIONS]

Ours and theirs take turns in one run, after a turn of each that does not count. Prints the seconds of each, as overhead
the median over the repetitions of ours / theirs - 1 with its interquartile range, and the same of the CPU time, which
other work on the machine disturbs less.

- transformers: against the decoding function called with batches that were tokenized beforehand.
- vllm: against `LLM.generate` of the very same engine, given all token ids at once (needs vLLM).
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
"""Draws everything once and returns how many samples came out."""


def requests(n_problems: int, n: int, temperature: float) -> list[Request]:
    """Arithmetic problems, `n` samples each."""
    template, sampling = PromptTemplate("arithmetic"), SamplingParams(temperature=temperature, max_tokens=60)
    rows = list(read_arithmetic({"n": n_problems, "difficulty": [1, 2, 3], "seed": 5}))[:n_problems]
    return [
        Request(id=f"{row.id}/{place}", prompt=template.render(row), seed=100 * index + place, sampling=sampling)
        for index, row in enumerate(rows)
        for place in range(n)
    ]


def compare(ours: Run, theirs: Run, repetitions: int) -> None:
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
        assert len(counts) == 1, "both must draw the same"
    for name, seconds in found.items():
        print(f"{name:7} {' '.join(f'{one:.3f}' for one in seconds)} s")
    ratios = [ours / theirs - 1 for ours, theirs in zip(found["ours"], found["theirs"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    print(f"overhead {100 * statistics.median(ratios):+.1f} % ({100 * low:+.1f} to {100 * high:+.1f})")
    print(f"CPU time of this process, all repetitions: {100 * (cpu['ours'] / cpu['theirs'] - 1):+.1f} %")


def measure_transformers(repetitions: int) -> None:
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

    compare(lambda: sum(len(row.token_ids) for row in generator.generate(wanted)), theirs, repetitions)


def measure_vllm(repetitions: int) -> None:
    """The engine against `LLM.generate` of a second engine set up alike."""
    from star.encoding import encode_prompt
    from star.generation.vllm_engine import VllmConfig, _start_vllm, _vllm_params

    options = {"kv_cache_memory_bytes": 1 << 28, "enforce_eager": True}
    # Greedy, so that both do the same work to the token.
    wanted = requests(96, 4, 0.0)
    with closing(load_generator("embedded", engine="vllm", batch_size=BATCH, **options)) as generator:
        llm = _start_vllm(str(EMBEDDED), None, VllmConfig(**options), BATCH)
        prompts = [{"prompt_token_ids": encode_prompt(generator.tokenizer, row.prompt)} for row in wanted]  # type: ignore[attr-defined]
        params = [_vllm_params(row.sampling, row.seed) for row in wanted]

        def theirs() -> int:
            outputs = llm.generate(prompts, params, use_tqdm=False)
            return sum(len(output.outputs[0].token_ids) for output in outputs)

        compare(lambda: sum(len(row.token_ids) for row in generator.generate(wanted)), theirs, repetitions)
        llm.llm_engine.engine_core.shutdown()


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


def measure_http(repetitions: int) -> None:
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
        compare(
            lambda: len([row.text for row in generator.generate(wanted)]),
            lambda: len(loop.run_until_complete(_bare(client, url, wanted))),
            repetitions,
        )
        loop.run_until_complete(client.aclose())
        loop.close()
    server.kill()


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


if __name__ == "__main__":
    measures = {"transformers": measure_transformers, "vllm": measure_vllm, "http": measure_http}
    measures[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 7)
