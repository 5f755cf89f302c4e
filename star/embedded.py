"""The embedded base models: how those in `assets/tiny` and `assets/addition` were made, and how to make them again.

    python -m star.embedded OUT_FOLDER [tiny | addition]

Llamas of 0.5 and 0.1 million parameters with a character tokenizer, trained on procedurally drawn worked examples:
mostly low difficulty, and all difficulties in the hinted format (answer in parentheses after the problem), which stands
in for STaR's few-shot hint prompts. Without those there would be nothing to climb on. `provenance.json` beside the
weights records recipe, seed and loss.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.ids import derive_seed
from data.prompts import PromptTemplate
from data.records import Problem
from data.sources.addition import draw_sum
from data.sources.arithmetic import draw_problem, split_of
from star.checkpoints import LoadedModel, save_checkpoint
from star.encoding import encode_completion, encode_prompt, pad_id
from star.sft import Row, SftConfig, fine_tune

SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a base is trained on."""

    draw: Callable[[int, random.Random], Problem]
    """A problem of a difficulty, with its worked solution."""
    plain: dict[int, int]
    """Worked examples of each difficulty without a hint."""
    hinted: dict[int, int]
    """Worked examples of each difficulty with the answer shown as a hint."""
    training: SftConfig
    size: dict[str, int]
    """What of the architecture differs between the bases."""


BASES = {
    "tiny": Base(
        draw=draw_problem,
        plain={1: 6000, 2: 6000, 3: 300, 4: 40, 5: 20, 6: 10},
        hinted={1: 1000, 2: 1000, 3: 1000, 4: 1000, 5: 1500, 6: 2500},
        training=SftConfig(steps=1800, batch_size=128, micro_batch_size=128, learning_rate=2e-3, max_epochs=1000),
        size={"hidden_size": 128, "intermediate_size": 320},
    ),
    "addition": Base(
        draw=draw_sum,
        plain={1: 80, 2: 100, 3: 20, 4: 20, 5: 20},
        hinted={1: 80, 2: 1000, 3: 1000, 4: 1500, 5: 2500},
        training=SftConfig(steps=1400, batch_size=32, micro_batch_size=32, learning_rate=5e-3, max_epochs=1000),
        size={"hidden_size": 64, "intermediate_size": 160},
    ),
}
"""The bases, by the folder in `assets`."""
_LAYOUT = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}


def make_tokenizer() -> Any:
    """A character tokenizer over printable ASCII and newline; `####` is one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<s>", "</s>", "<unk>"]
    symbols = [*specials, "####", "\n", *(chr(code) for code in range(32, 127))]
    vocabulary = {symbol: place for place, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"####|[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: Any, size: dict[str, int], seed: int) -> Any:
    """An untrained model of an embedded size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **size,
        **_LAYOUT,
    )
    return LlamaForCausalLM(config)


def worked_examples(name: str = "tiny", seed: int = SEED) -> Iterator[tuple[str, str]]:
    """Pairs of prompt and gold solution; test problems, by hash, are left out."""
    base, template = BASES[name], PromptTemplate("arithmetic")
    for hinted, counts in ((False, base.plain), (True, base.hinted)):
        for difficulty, count in counts.items():
            rng = random.Random(derive_seed("embedded", seed, str(hinted), difficulty))
            drawn = 0
            while drawn < count:
                problem = base.draw(difficulty, rng)
                if split_of(problem) == "train":
                    drawn += 1
                    yield template.render(problem, hint=problem.answer if hinted else ""), problem.solution


def make(name: str, folder: Path, seed: int = SEED) -> None:
    """Train an embedded base and save it."""
    base = BASES[name]
    tokenizer = make_tokenizer()
    rows = [
        Row(encode_prompt(tokenizer, prompt), encode_completion(tokenizer, text))
        for prompt, text in worked_examples(name, seed)
    ]
    model, report = fine_tune(
        make_model(tokenizer, base.size, seed),
        rows,
        base.training,
        steps=base.training.steps,
        pad=pad_id(tokenizer),
        seed=seed,
        on_step=_progress,
    )
    provenance = {
        "made_by": "python -m star.embedded",
        "seed": seed,
        "plain_examples": base.plain,
        "hinted_examples": base.hinted,
        "training": base.training.model_dump(),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "losses": [round(loss, 4) for loss in report.losses],
        "tokens": report.tokens,
    }
    save_checkpoint(LoadedModel(model, tokenizer, "embedded", ""), folder, provenance=provenance)


def _progress(step: int, total: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"step {step}/{total} loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    make(sys.argv[2] if len(sys.argv) > 2 else "tiny", Path(sys.argv[1]))
