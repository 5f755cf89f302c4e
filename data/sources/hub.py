"""Stream raw rows from the Hugging Face hub through `datasets` (imported on first use).

The dataset is downloaded once to the library's cache: a rerun reads the same rows, also offline.
"""

from __future__ import annotations

from collections.abc import Iterator

from data.errors import InputError
from data.sources.base import RawRow


def read_hub(hub_id: str, *, config: str = "", split: str = "train", revision: str = "") -> Iterator[RawRow]:
    """Yield each row of one split with its place, `owner/name[train]:17`.

    Raises:
        InputError: there is no such dataset, configuration or split, or the hub cannot be reached.
    """
    import datasets

    try:
        table = datasets.load_dataset(hub_id, config or None, split=split, revision=revision or None)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        # Not found is an OSError there, an unknown configuration or split a ValueError,
        # a dataset that is a script a RuntimeError, damaged data a DatasetsError.
        reason = str(error).strip().partition("\n")[0][:200].rstrip(".")
        raise InputError(
            f"cannot load '{hub_id}' (split '{split}') from the hub: {reason}.",
            "Check the name, the split and the network (HF_TOKEN if it is private), or give the path of a local file.",
        ) from error
    for number, row in enumerate(table, start=1):
        yield f"{hub_id}[{split}]:{number}", dict(row)
