"""Writes a copy of an adapter that a vLLM applies: other names, split or merged projections.

No number changes: tensors are copied byte for byte, cut by whole rows, or set side by side with
zeros around them, so that B·A of each module stays what it was.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_lora.adapters.as_found import AsFound
from mm_lora.adapters.files import CONFIG, write
from mm_lora.adapters.scale import alpha_of, scale_of
from mm_lora.adapters.scale import rank_of as config_rank
from mm_lora.adapters.tensors import Tensor as Data
from mm_lora.checks.inspection.findings import Fate, Inspection, Tensor, Why
from mm_lora.checks.inspection.keys import meant
from mm_lora.checks.inspection.server import Server
from mm_lora.checks.inspection.spellings import Spellings, part_order
from mm_lora.core.errors import UsageError

_SIDES = ("lora_A", "lora_B")
_LOST = (Why.SHAPE, Why.TARGETS, Why.TOWER_OFF, Why.NO_HOOK, Why.NO_LAYER)
"""What no other name mends."""


@dataclass
class Repaired:
    """`renamed`: old key → new key; `joined`: a new module → those that it is made of; `split`:
    an old module → those that it became; `dropped`: key → why it was left out."""

    renamed: dict[str, str] = field(default_factory=dict)
    joined: dict[str, tuple[str, ...]] = field(default_factory=dict)
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """For people and for the list beside the copy."""
        return [
            *(f"renamed {old} → {new}" for old, new in self.renamed.items() if old != new),
            *(f"joined {' + '.join(parts)} → {new}" for new, parts in self.joined.items()),
            *(f"split {old} → {' + '.join(parts)}" for old, parts in self.split.items()),
            *(f"dropped {key}: {why}" for key, why in self.dropped.items()),
        ]


@dataclass(frozen=True)
class _Piece:
    """What becomes a module, or a part of one: the module's PEFT path, and the pair it comes from,
    as the adapter spells it."""

    module: str
    source: str
    a: Data
    b: Data
    scale: float


def repair(
    adapter: AsFound, inspection: Inspection, server: Server, target: Path, *, drop: bool
) -> Repaired:
    """Write the copy into the empty or new folder `target`.

    Raises UsageError where the adapter cannot be read, where a tensor cannot be served and `drop`
    is not set, and for a folder that holds something.
    """
    _require(adapter, server, target)
    done, spellings = Repaired(), Spellings(server)
    pieces = _joined(_pieces(adapter, inspection, spellings, done), server, done)
    if done.dropped and not drop:
        told = "\n".join(f"  {key}: {why}" for key, why in list(done.dropped.items())[:8])
        raise UsageError(
            f"{len(done.dropped)} tensors cannot be served by this vLLM:\n{told}",
            "--drop leaves them out of the copy",
        )
    if not pieces:
        raise UsageError("nothing of the adapter can be served", "the model that it was made for")
    tensors: dict[str, Data] = {}
    for piece in pieces:
        for side, data in zip(_SIDES, (piece.a, piece.b), strict=True):
            tensors[spellings.key(piece.module, side)] = data
    target.mkdir(parents=True, exist_ok=True)
    for file in adapter.folder.iterdir():
        if file.is_file() and not file.name.startswith("adapter_"):
            shutil.copy(file, target / file.name)
    write(target, dict(sorted(tensors.items())))
    text = json.dumps(_config(adapter.config, pieces, spellings), indent=2)
    (target / CONFIG).write_text(text + "\n", encoding="utf-8")
    return done


def _require(adapter: AsFound, server: Server, target: Path) -> None:
    """Raise UsageError for what no other name or shape would mend."""
    if wrong := adapter.config_error or adapter.weights_error:
        raise UsageError(f"{adapter.folder} cannot be repaired: {wrong}", "a whole copy of it")
    plain = {**adapter.config, "modules_to_save": None, "bias": "none"}
    told = list(server.rules.refusals(plain, server.flags.largest))
    if told:
        raise UsageError(f"{adapter.folder} cannot be repaired: {told[0]}", "how it was trained")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not an empty folder", "--repair with a new folder")


def _pieces(
    adapter: AsFound, inspection: Inspection, spellings: Spellings, done: Repaired
) -> list[_Piece]:
    """Pairs with the module that each is for; what has none is dropped."""
    sides: dict[str, dict[str, Tensor]] = {}
    for one in inspection.tensors:
        if one.key not in adapter.heads:
            continue  # a file's
        module, side, _ = meant(one.key)
        if side and one.why is not Why.OVERWRITTEN:
            sides.setdefault(module, {})[side] = one
        else:
            done.dropped[one.key] = one.reason
    found: list[_Piece] = []
    for module, pair in sides.items():
        whole = len(pair) == 2
        parts = spellings.apart(module) if whole else ()
        if not parts and (why := _unservable(pair, spellings.server)):
            done.dropped.update({one.key: why for one in pair.values()})
            continue
        a, b = (adapter.tensor(pair[side].key) for side in _SIDES)
        scale = scale_of(adapter.config, module)
        if parts:
            found += _cut(module, parts, a, b, scale, spellings.server, done)
            continue
        own = pair["lora_A"].module
        found.append(_Piece(own, module, a, b, scale))
        if all(pair[side].why is not Why.PACKED for side in _SIDES):
            done.renamed.update({pair[side].key: spellings.key(own, side) for side in _SIDES})
    return found


def _unservable(pair: Mapping[str, Tensor], server: Server) -> str:
    """Why a pair cannot be served under any name; "" where it can."""
    if len(pair) != 2:
        return "half of a pair"
    for one in pair.values():
        above = one.why is Why.RANK and one.fate is Fate.REFUSED
        if not one.module or above or one.why in _LOST:
            return one.reason
        layer = server.wrapping.layer(server.wrapping.layer_of(server.family.to_vllm(one.module)))
        if layer is None or server.wrapping.why_not(layer):
            return one.reason
    return ""


def _cut(
    module: str,
    parts: Sequence[str],
    a: Data,
    b: Data,
    scale: float,
    server: Server,
    done: Repaired,
) -> list[_Piece]:
    """B by rows, A for each."""
    outputs = [server.sizes[part][1] for part in parts]
    if len(b.shape) != 2 or sum(outputs) != b.shape[0]:
        told = "+".join(map(str, outputs))
        raise UsageError(f"{module} has {b.shape} for {told} outputs", "the adapter's model")
    row = len(b.data) // b.shape[0]
    found, first = [], 0
    for part, size in zip(parts, outputs, strict=True):
        data = b.data[first * row : (first + size) * row]
        found.append(_Piece(part, module, a, Data(b.dtype, (size, b.shape[1]), data), scale))
        first += size
    done.split[module] = tuple(parts)
    return found


def _joined(pieces: list[_Piece], server: Server, done: Repaired) -> list[_Piece]:
    """Several pairs for one module of the model, set side by side; see `_stacked`."""
    by_module: dict[str, list[_Piece]] = {}
    for piece in pieces:
        by_module.setdefault(piece.module, []).append(piece)
    found = []
    for module, some in by_module.items():
        outputs = server.sizes[module][1]
        if len(some) == 1 and some[0].b.shape[0] in (outputs, 0):
            found += some
            continue
        done.joined[module] = tuple(piece.source for piece in some)
        found.append(_stacked(module, some, outputs))
    return found


def _stacked(module: str, some: Sequence[_Piece], outputs: int) -> _Piece:
    """A of all below each other, B of each in its own rows and columns: the rank is the sum.

    Rows in the order of query, key and value; where one of them has no adapter, its rows are zero.
    Raises UsageError for pairs that do not fit beside each other.
    """
    places = _places(some, outputs)
    kinds = {(piece.a.dtype, piece.b.dtype, piece.a.shape[1], piece.scale) for piece in some}
    if places is None or len(kinds) > 1:
        raise UsageError(
            f"{', '.join(piece.source for piece in some)} cannot be joined to {module}: they "
            "differ in kind or scale, or do not fill it",
            "the adapter's model",
        )
    ranks = [piece.a.shape[0] for piece in some]
    first = some[0]
    data = b"".join(piece.a.data for piece in some)
    a = Data(first.a.dtype, (sum(ranks), first.a.shape[1]), data)
    size = len(first.b.data) // math.prod(first.b.shape)
    lines = [bytes(sum(ranks) * size)] * outputs
    for at, (piece, place) in enumerate(zip(some, places, strict=True)):
        rows, rank = piece.b.shape
        before, after = (bytes(sum(part) * size) for part in (ranks[:at], ranks[at + 1 :]))
        for i in range(rows):
            own = piece.b.data[i * rank * size : (i + 1) * rank * size]
            lines[place + i] = before + own + after
    b = Data(first.b.dtype, (outputs, sum(ranks)), b"".join(lines))
    return _Piece(module, module, a, b, first.scale)


def _places(some: Sequence[_Piece], outputs: int) -> list[int] | None:
    """The first row of each part; None where that cannot be told."""
    named = [part_order(piece.source.rpartition(".")[2]) for piece in some]
    order = [one for one in named if one is not None]
    rows = [piece.b.shape[0] for piece in some]
    if len(set(order)) != len(some):
        return None
    if sum(rows) == outputs:
        return [sum(r for r, o in zip(rows, order, strict=True) if o < own) for own in order]
    if {3 * one for one in rows} == {outputs}:
        return [own * outputs // 3 for own in order]
    return None


def _config(
    config: Mapping[str, Any], pieces: Sequence[_Piece], spellings: Spellings
) -> dict[str, Any]:
    """The same scales, by patterns over the new names where the old ones do not give them."""
    ranks: dict[str, Any] = {}
    alphas: dict[str, Any] = {}
    names = [meant(spellings.key(piece.module, "lora_A"))[0] for piece in pieces]
    for name, piece in zip(names, pieces, strict=True):
        rank = piece.a.shape[0]
        alpha = alpha_of(config, rank, piece.scale)
        if config_rank(config, name) != rank or not math.isclose(
            scale_of(config, name), piece.scale
        ):
            ranks[name] = rank
            alphas[name] = int(alpha) if alpha == int(alpha) else alpha
    return {
        **config,
        "bias": "none",
        "modules_to_save": None,
        "target_modules": sorted(names),
        "rank_pattern": {**ranks, **(config.get("rank_pattern") or {})},
        "alpha_pattern": {**alphas, **(config.get("alpha_pattern") or {})},
    }
