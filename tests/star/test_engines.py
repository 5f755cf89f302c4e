"""What every engine owes: options checked by name, memory that runs out survived, a missing package named."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from data.errors import DependencyError, EngineError, UserError
from data.prompts import PromptTemplate
from data.sources.arithmetic import read_arithmetic
from star import load_generator
from star.checkpoints import LoadedModel
from star.generation import ENGINES, Request, SamplingParams
from star.generation.transformers_engine import TransformersGenerator


class _SmallMemory(torch.nn.Module):
    """The embedded model on a device with room for a few rows only."""

    def __init__(self, model: Any, room: int, error: Exception | None = None) -> None:
        super().__init__()
        self.model, self.room, self.widest = model, room, 0
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.config, self.generation_config, self.device = model.config, model.generation_config, model.device

    def forward(self, input_ids: torch.Tensor, **rest: Any) -> Any:
        # The shared prompt is read once; what fills the memory are the rows after it.
        if input_ids.shape[1] == 1 and input_ids.shape[0] > self.room:
            raise self.error
        self.widest = max(self.widest, input_ids.shape[0])
        return self.model(input_ids=input_ids, **rest)


def requests(n: int, **params: Any) -> list[Request]:
    template = PromptTemplate("arithmetic")
    sampling = SamplingParams(**({"temperature": 0.0, "max_tokens": 40} | params))
    rows = list(read_arithmetic({"n": n, "difficulty": [2], "seed": 5}))
    return [Request(id=row.id, prompt=template.render(row), seed=1, sampling=sampling) for row in rows]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_said_once(
    tiny: LoadedModel, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    wanted = [
        Request(id=f"{row.id}/{seed}", prompt=row.prompt, seed=seed, sampling=row.sampling)
        for row in requests(8, temperature=1.5)
        for seed in range(3)
    ]
    small = _SmallMemory(tiny.model, 3, error)
    loaded = LoadedModel(small, tiny.tokenizer, tiny.name, tiny.revision)
    halved = list(TransformersGenerator(loaded, batch_size=16).generate(wanted))
    whole = list(TransformersGenerator(tiny, batch_size=16).generate(wanted))
    assert len({row.token_ids for row in whole}) > 8
    for one, other in zip(halved, whole, strict=True):
        assert (one.request_id, one.text, one.token_ids) == (other.request_id, other.text, other.token_ids)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert (one.finish_reason, one.error) == (other.finish_reason, other.error)
    assert small.widest <= 16
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "16 samples" in caplog.text


def test_no_room_for_a_single_sample_is_an_engine_error(tiny: LoadedModel) -> None:
    loaded = LoadedModel(_SmallMemory(tiny.model, room=0), tiny.tokenizer, tiny.name, tiny.revision)
    with pytest.raises(EngineError, match="no room for one sample"):
        list(TransformersGenerator(loaded, batch_size=4).generate(requests(4)))


def test_another_failure_of_the_model_is_not_taken_for_lack_of_memory(tiny: LoadedModel) -> None:
    class Broken(_SmallMemory):
        def forward(self, input_ids: torch.Tensor, **rest: Any) -> Any:
            raise RuntimeError("shapes do not match")

    loaded = LoadedModel(Broken(tiny.model, room=9), tiny.tokenizer, tiny.name, tiny.revision)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(TransformersGenerator(loaded).generate(requests(2)))


REAL_SHORTAGE = """
import resource, torch
torch.set_num_threads(1)
from star import load_generator
from star.generation import Request, SamplingParams
generator = load_generator("embedded", batch_size=2048)
def draw(n):
    sampling = SamplingParams(max_tokens=3)
    return list(generator.generate(Request(id=str(i), prompt="1+1=?\\n", seed=i, sampling=sampling) for i in range(n)))
draw(2)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
print(sum(len(row.token_ids) == 3 for row in draw(2048)))
"""
"""The cache of 2048 rows takes 200 MB, of which 64 are to be had."""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its address space as Linux does")
def test_memory_that_really_runs_out_on_a_cpu_is_survived() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REAL_SHORTAGE], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.stdout.strip() == "2048", done.stderr
    assert "out of memory with 2048 samples at once" in done.stderr


@pytest.mark.parametrize(
    ("engine", "options", "said"),
    [
        ("transformers", {"concurrency": 3}, "concurrency"),
        ("scripted", {"x": 1}, "x"),
        ("http", {}, "base_url"),
        ("http", {"base_url": "http://h/v1", "endpoint": "chats"}, "endpoint"),
        ("http", {"base_url": "http://h/v1", "stall_s": 0}, "stall_s"),
        ("vllm", {"dtype": "int8"}, "dtype"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_loaded(engine: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"engine option '{said}'"):
        load_generator("/no/such/model", engine=engine, **options)


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the optional packages: nothing outside the standard library is found by name."""
    import importlib.util

    found = importlib.util.find_spec
    absent = {"vllm", "httpx"}
    for module in ("star.generation.http_engine", "star.generation.vllm_setup"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None if name in absent else found(name))


@pytest.mark.usefixtures("without_packages")
@pytest.mark.parametrize(
    ("engine", "options", "extra"), [("http", {"base_url": "http://h/v1"}, "http"), ("vllm", {}, "vllm")]
)
def test_a_missing_package_is_one_line_with_the_command(engine: str, options: dict[str, Any], extra: str) -> None:
    with pytest.raises(DependencyError, match=rf"pip install 'stepstar\[{extra}") as caught:
        load_generator("embedded", engine=engine, **options)
    assert "\n" not in str(caught.value)


def test_every_engine_is_documented_where_it_is_chosen() -> None:
    assert all(f"`{name}`" in str(load_generator.__doc__) for name in ENGINES)
