"""Adapters as people bring them, each made from a good one, to inspect and to load."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mm_lora.adapters.bad import KINDS, bad_copy, config, each, rename
from mm_lora.adapters.built import BuiltAdapter
from mm_lora.adapters.files import copy, read, write
from mm_lora.adapters.keys import PREFIX, key_of, parted
from mm_lora.families.family import Family

Make = Callable[[Path], None]
POISON = ("nan", "infinity", "overflow")
"""They stay in a server's KV cache: not on one that others share."""


def respelled(to: Callable[[str], str]) -> Make:
    """Other module paths."""

    def make(folder: Path) -> None:
        tensors = read(folder)
        paths = {key: parted(key) for key in tensors}
        write(folder, {key_of(to(paths[key][0]), paths[key][1]): t for key, t in tensors.items()})

    return make


def twice(folder: Path) -> None:
    """Each key a second time without its prefix: one module, two pairs."""
    tensors = read(folder)
    write(folder, {**tensors, **{key.removeprefix(PREFIX): t for key, t in tensors.items()}})


def half(part: str, side: str, *, scale: float | None = None) -> Make:
    """Without one side of a module; `scale`: alpha so that alpha / rank is 1, or as it is."""

    def make(folder: Path) -> None:
        kept = {k: t for k, t in read(folder).items() if f".{part}.{side}." not in k}
        write(folder, kept)

    return make if scale is None else each(make, config(lora_alpha=8))


def spellings(family: Family) -> Mapping[str, Make]:
    """Made from the family's good adapter: how exporters and other trainers write it."""
    good, text = family.good, family.text_part
    fused, plain = good.fused, good.plain
    return {
        "no-prefix": rename(PREFIX, ""),
        "default-left": rename(".weight", ".default.weight"),
        "linear-left": rename(f".{plain}.", f".{plain}.linear."),
        "vllm-names": respelled(family.to_vllm),
        "text-class": lambda folder: write(
            folder, {k.replace(f".{text}", "."): t for k, t in read(folder).items()}
        ),
        "fused-name": rename(f".{fused}.", ".qkv_proj."),
        "head": rename(f".{plain}.", ".lm_head."),
        "twice": twice,
        "missing-a-fused-1": half(fused, "lora_A", scale=1),
        "missing-b-1": half(plain, "lora_B", scale=1),
        "rslora": config(use_rslora=True),
        "saved-classifier": config(modules_to_save=["classifier"]),
        "pissa": config(init_lora_weights="pissa"),
        "gaussian": config(init_lora_weights="gaussian"),
        "zero-rank": config(r=0),
        "no-targets": config(target_modules=None),
        "alora": config(alora_invocation_tokens=[1, 2]),
    }


def variants(
    family: Family, built: Mapping[str, BuiltAdapter], folder: Path
) -> Iterator[tuple[str, Path]]:
    """(name, folder) of every adapter: as built, bad ones, respelled ones."""
    for name, adapter in built.items():
        yield name, adapter.path
    good = built[family.good.adapter].path
    for kind in KINDS:
        if kind not in POISON:
            yield kind, bad_copy(good, folder / kind, kind, family.good)
    for name, make in spellings(family).items():
        target = copy(good, folder / name)
        make(target)
        yield name, target
