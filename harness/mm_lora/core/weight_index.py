"""The index of a sharded checkpoint: the weight files that belong to it."""

import json
from pathlib import Path

INDEX = "model.safetensors.index.json"


def indexed_files(folder: Path) -> list[str] | None:
    """The names of the folder's weight files, sorted; None where it has no index.

    Raises OSError, or ValueError for an index that is none.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return sorted(set(index["weight_map"].values()))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no weight_map: {error!r}") from None
