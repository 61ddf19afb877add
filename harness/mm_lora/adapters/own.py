"""The user's own adapters, `NAME=FOLDER`: read, and refused, by their files alone; no torch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.adapters.built import BuiltAdapter
from mm_lora.adapters.files import CONFIG, WEIGHTS, read_config
from mm_lora.adapters.keys import SIDES, keys_of, parted
from mm_lora.adapters.sets import known
from mm_lora.adapters.tensors import heads
from mm_lora.core.asking import BASE
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.family import Family

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_A_FOLDER = "that it is a LoRA adapter as peft's save_pretrained writes it"

Shape = Sequence[int]


@dataclass(frozen=True, kw_only=True)
class OwnAdapter:
    """A PEFT folder of the user's. `modules`: path → shapes of A [rank, in] and of B [out, rank],
    with more axes for a convolution; a path is as the file spells it.

    `config` is the content of adapter_config.json. `keys`: path → the keys of A and of B. `dtype`:
    of the first tensor, as safetensors calls it.
    """

    name: str
    path: Path
    config: Mapping[str, Any]
    modules: Mapping[str, tuple[Shape, Shape]]
    keys: Mapping[str, tuple[str, str]]
    dtype: str

    @property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max(a[0] for a, _ in self.modules.values())

    def require_rank(self, maximum: int) -> None:
        """Raise UsageError where the server's `--max-lora-rank` is smaller than the rank."""
        if self.rank > maximum:
            raise UsageError(
                f"adapter '{self.name}' has rank {self.rank}; the server's maximum is {maximum}",
                "max-lora-rank in the profile's [flags], or an adapter of a lower rank",
            )

    def misfit(self, model: str, weights: Mapping[str, Shape]) -> str:
        """What keeps the model from serving it as it is, a module that the model does not have or
        has in another size; "" if nothing does.

        `weights`: name → shape of the model's own tensors, `<path>.weight` being [out, in].
        """
        for path, (a, b) in self.modules.items():
            own = weights.get(f"{path}.weight")
            if own is None or len(own) != 2 or self.keys[path] != keys_of(path):
                return f"{model} has no linear module {path}"
            if (b[0], a[1]) != tuple(own):
                return (
                    f"{model} has {path} of {own[1]} inputs and {own[0]} outputs, the adapter "
                    f"is for {a[1]} and {b[0]}"
                )
        return ""

    def built(self, family: Family) -> BuiltAdapter:
        """As one of the adapters that a server of that family loads."""
        rows = []
        for group in (*family.groups, "other"):
            mine = [m for p, m in self.modules.items() if _group(family, p) == group]
            size = sum(a[0] * a[1] + b[0] * b[1] for a, b in mine)
            if mine:
                row = {"group": group, "modules": len(mine), "tensors": 2 * len(mine)}
                rows.append(row | {"parameters": size})
        return BuiltAdapter(self.name, self.path, None, rows, (self.path / WEIGHTS).stat().st_size)


def read_all(words: Iterable[str]) -> dict[str, OwnAdapter]:
    """The adapters of `--adapter NAME=FOLDER` words, by name. Raises UsageError."""
    folders = named_folders(words)
    for name in folders:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"'{name}' cannot be an adapter's name",
                "letters, digits, dots, dashes and underscores",
            )
        if name in _taken():
            raise UsageError(f"the adapter name '{name}' is taken", "another name")
    return {name: read(name, folder) for name, folder in folders.items()}


def named_folders(words: Iterable[str]) -> dict[str, Path]:
    """Name → folder of such words. Raises UsageError; a name may be whatever a server lists."""
    found: dict[str, Path] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not (name and equals and folder):
            raise UsageError(
                f"--adapter '{word}' is not NAME=FOLDER", "an adapter's name and its PEFT folder"
            )
        if name in found:
            raise UsageError(f"the adapter name '{name}' is taken", "another name")
        found[name] = Path(folder).expanduser()
    return found


def read(name: str, folder: Path) -> OwnAdapter:
    """One PEFT folder. Raises UsageError for what is no LoRA adapter, or a damaged one."""
    if not folder.is_dir():
        raise UsageError(f"adapter '{name}': there is no folder {folder}", "the adapter's path")
    config = _config(name, folder)
    if not (folder / WEIGHTS).is_file():
        raise UsageError(f"adapter '{name}': {folder} has no {WEIGHTS}", _A_FOLDER)
    sides: dict[str, dict[str, Shape]] = {}
    keys: dict[str, dict[str, str]] = {}
    found = heads(folder / WEIGHTS)
    for key, head in found.items():
        path, side = parted(key)
        if not side or not key.endswith(".weight") or len(head.shape) not in {2, 4}:
            raise UsageError(
                f"adapter '{name}' has the tensor {key}, not a lora_A or lora_B of a module",
                f"{_A_FOLDER}; DoRA, embeddings and saved modules are not verified",
            )
        sides.setdefault(path, {})[side] = head.shape
        keys.setdefault(path, {})[side] = key
    if not sides:
        raise UsageError(f"adapter '{name}' is empty: {WEIGHTS} has no tensors", _A_FOLDER)
    for path, pair in sides.items():
        if set(pair) != set(SIDES) or pair["lora_A"][0] != pair["lora_B"][1]:
            raise UsageError(
                f"adapter '{name}': lora_A and lora_B of {path} do not fit together: {pair}",
                _A_FOLDER,
            )
    return OwnAdapter(
        name=name,
        path=folder.resolve(),
        config=config,
        modules={path: (pair["lora_A"], pair["lora_B"]) for path, pair in sides.items()},
        keys={path: (pair["lora_A"], pair["lora_B"]) for path, pair in keys.items()},
        dtype=next(iter(found.values())).dtype,
    )


def _config(name: str, folder: Path) -> dict[str, Any]:
    try:
        config = read_config(folder)
        if config["peft_type"] != "LORA" or config["r"] < 1 or not config["lora_alpha"] > 0:
            raise UsageError(
                f"adapter '{name}': {CONFIG} says peft_type {config['peft_type']!r}, "
                f"r {config['r']!r}, lora_alpha {config['lora_alpha']!r}",
                _A_FOLDER,
            )
    except FileNotFoundError:
        raise UsageError(f"adapter '{name}': {folder} has no {CONFIG}", _A_FOLDER) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"adapter '{name}': {folder / CONFIG} cannot be read: {error!r}", _A_FOLDER
        ) from None
    return config


def _group(family: Family, path: str) -> str:
    group = family.group_of(path)
    return group.name if group else "other"


def _taken() -> set[str]:
    """Names of synthetic adapters, models and what ids say otherwise."""
    adapters = {name for family in registry.families().values() for name in known(family)}
    return adapters | {*registry.published(), BASE, "server"}
