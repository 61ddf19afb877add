"""Which module of the model a key means, where vLLM finds none under its name."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mm_lora.adapters.keys import key_of
from mm_lora.checks.inspection.findings import Why
from mm_lora.checks.inspection.server import Server, Size

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_EXTRA = (".default", ".linear", ".base_layer")
"""What exporters leave behind a module's name."""
_PARTS = {
    **{name: ("qkv", at) for at, name in enumerate(("q", "k", "v"))},
    **{f"{name}_proj": ("qkv", at) for at, name in enumerate(("q", "k", "v"))},
    **{name: ("qkv", at) for at, name in enumerate(("query", "key", "value"))},
}
"""Last name of a projection → what a model that has them in one layer calls that, and the order."""
_CLOSE = 0.9
"""From here on a name is a misspelling of the other."""
_NEAR = 0.6


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """`module`: the PEFT path that is meant. `sure`: so surely that a repair may rename it."""

    module: str
    why: Why
    sure: bool
    said: str


@dataclass(frozen=True)
class Spellings:
    """Of one server's model."""

    server: Server
    _known: dict[tuple[str, Size | None], Meaning | None] = field(default_factory=dict, repr=False)

    def meaning(self, name: str, size: Size | None) -> Meaning | None:
        """Of a module as a key spells it; `size`: inputs and outputs of its pair, None where the
        pair does not tell."""
        key = (name, size)
        if key not in self._known:
            self._known[key] = next(self._readings(name, size), None)
        return self._known[key]

    def key(self, module: str, side: str) -> str:
        """The key under which this vLLM finds a module of the model; `side` lora_A or lora_B."""
        family, renames = self.server.family, self.server.wrapping.renames
        vllm = family.to_vllm(module)
        for spelled in (module, vllm):
            if renames.of(f"{spelled}.{side}.weight") == f"{vllm}.{side}.weight":
                return key_of(spelled, side)
        return key_of(module, side)

    def apart(self, name: str) -> tuple[str, ...]:
        """The modules that a key's one projection stands for, where the model has them apart."""
        parent, _, last = name.rpartition(".")
        parts = self.server.wrapping.packed.get(last, ())
        if len(parts) < 2:
            return ()
        found = tuple(self._module(f"{parent}.{part}") for part in parts)
        return found if all(found) else ()

    def _module(self, name: str) -> str:
        """The model's module of a name that is right, or another one's for sure; else ""."""
        if name in self.server.sizes:
            return name
        mapped = self.server.wrapping.renames.of(f"{name}.weight").removesuffix(".weight")
        if mapped in self.server.served:
            return self.server.served[mapped]
        meaning = self.meaning(name, None)
        return meaning.module if meaning and meaning.sure else ""

    @cached_property
    def _text_class(self) -> Mapping[str, str]:
        """Path of the text-only class → path in the model."""
        part = self.server.family.text_part
        return {
            f".{path}".replace(f".{part}", ".", 1)[1:]: path
            for path in self.server.sizes
            if f".{part}" in f".{path}"
        }

    @cached_property
    def _shapes(self) -> Mapping[str, str]:
        """Path without its numbers → one path like it."""
        return {_NUMBER.sub("*", path): path for path in self.server.sizes}

    def _readings(self, name: str, size: Size | None) -> Iterator[Meaning]:
        sizes = self.server.sizes
        for spelled in dict.fromkeys((name, *(name.removesuffix(end) for end in _EXTRA))):
            extra = spelled != name
            if own := spelled if spelled in sizes else self.server.served.get(spelled, ""):
                end = repr(name[len(spelled) :]) if extra else "more than lora_A.weight"
                yield Meaning(module=own, why=Why.KEY, sure=True, said=f"{end} is in its key")
            if spelled in self.server.own:
                yield Meaning(
                    module=self.server.own[spelled],
                    why=Why.NEWEST,
                    sure=True,
                    said="a name of transformers 5.6 or newer, which vLLM's class does not know",
                )
            if spelled in self._text_class and self._fits(self._text_class[spelled], size):
                yield Meaning(
                    module=self._text_class[spelled],
                    why=Why.TEXT_CLASS,
                    sure=True,
                    said="a name of the text-only class",
                )
            yield from self._packed(spelled, size)
            yield from self._same_end(spelled, size)
            yield from self._beyond(spelled)
            yield from self._near(spelled, size)

    def _packed(self, name: str, size: Size | None) -> Iterator[Meaning]:
        """One part of a layer that the model has in one, or the whole of what it has apart."""
        parent, _, last = name.rpartition(".")
        whole, _ = _PARTS.get(last, ("", 0))
        fused = self.server.sizes.get(f"{parent}.{whole}") if whole else None
        if fused is not None and (size is None or (size[0] == fused[0] and size[1] < fused[1])):
            yield Meaning(
                module=f"{parent}.{whole}",
                why=Why.PACKED,
                sure=True,
                said=f"the model has {whole} in one layer",
            )
        if last in self.server.wrapping.packed and (parts := self.apart(name)):
            names = ", ".join(part.rpartition(".")[2] for part in parts)
            yield Meaning(
                module=parts[0], why=Why.PACKED, sure=False, said=f"the model has {names} apart"
            )

    def _same_end(self, name: str, size: Size | None) -> Iterator[Meaning]:
        """Another prefix: the only module of that size with the same end, layer number included."""
        parts = name.split(".")
        numbers = [at for at, part in enumerate(parts) if part.isdigit()]
        first = numbers[0] - 1 if numbers else len(parts) - 2
        end = "." + ".".join(parts[max(first, 0) :])
        same = [path for path in self._ending(end) if self._fits(path, size)]
        if same and len(parts) > 1:
            best = max(same, key=lambda path: _alike(name, path))
            yield Meaning(
                module=best, why=Why.PREFIX, sure=len(same) == 1, said="under another prefix"
            )

    def _ending(self, end: str) -> Iterator[str]:
        for path in self.server.sizes:
            if f".{path}".endswith(end):
                yield path

    def _beyond(self, name: str) -> Iterator[Meaning]:
        """A layer that the model does not have."""
        like = self._shapes.get(_NUMBER.sub("*", name))
        if like is not None and name not in self.server.sizes:
            most = max(
                (p for p in self.server.sizes if _NUMBER.sub("*", p) == _NUMBER.sub("*", name)),
                key=lambda path: [int(number) for number in _NUMBER.findall(path)],
            )
            yield Meaning(
                module=most,
                why=Why.BEYOND,
                sure=False,
                said=f"a layer that {self.server.model} does not have",
            )

    def _near(self, name: str, size: Size | None) -> Iterator[Meaning]:
        """A misspelling: the likest of all paths with the same numbers."""
        shape, numbers = _NUMBER.sub("*", name), _NUMBER.findall(name)
        close = difflib.get_close_matches(shape, self._shapes, n=5, cutoff=_NEAR)
        for one in close:
            filled = iter(numbers)
            path = _star(one, filled) if one.count("*") == len(numbers) else ""
            if path in self.server.sizes and self._fits(path, size):
                sure = _alike(shape, one) >= _CLOSE
                yield Meaning(
                    module=path, why=Why.MISSPELT, sure=sure, said="no module is called so"
                )
                return

    def _fits(self, path: str, size: Size | None) -> bool:
        own = self.server.sizes[path]
        return size is None or own == (0, 0) or own == size


def part_order(last: str) -> int | None:
    """The place of a part in its layer, by its last name: query, key, value."""
    return _PARTS[last][1] if last in _PARTS else None


def _star(shape: str, numbers: Iterator[str]) -> str:
    return re.sub(r"\*", lambda _: next(numbers), shape)


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()
