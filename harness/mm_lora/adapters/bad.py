"""Bad and unusual adapters, each made from a good one, with the result that a user should get.

The good one has a module that vLLM packs with others (`v_proj` in `qkv_proj`) and one that it does
not (`o_proj`), fp32 tensors, and rank 8 with alpha 16: see `GoodAdapter`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mm_lora.adapters.files import CONFIG, WEIGHTS, configure, copy, read, read_config, write
from mm_lora.adapters.tensors import Tensor, encoded
from mm_lora.families.family import GoodAdapter

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Bad:
    """One way to be bad: `make` changes a copy of the good adapter.

    `says`: a pattern, what a refusal must speak of, so that its reader can mend the adapter; ""
    where the adapter is only unusual and must be applied, with the good one's numbers.
    """

    what: str
    make: Callable[[Path], None]
    says: str = ""


def drop(part: str) -> Callable[[Path], None]:
    """Leave out the tensors whose key has `part`."""
    return lambda folder: write(folder, {k: t for k, t in read(folder).items() if part not in k})


def rename(old: str, new: str, only: str = "") -> Callable[[Path], None]:
    """Replace `old` in each key that has `only`."""

    def make(folder: Path) -> None:
        tensors = read(folder).items()
        write(folder, {k.replace(old, new) if only in k else k: t for k, t in tensors})

    return make


def config(**changes: object) -> Callable[[Path], None]:
    """Change keys of adapter_config.json."""
    return lambda folder: configure(folder, **changes)


def each(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    """One after the other."""

    def make(folder: Path) -> None:
        for step in steps:
            step(folder)

    return make


def rows(part: str, factor: float) -> Callable[[Path], None]:
    """So many times the rows in the tensors whose key has `part`: repeated or cut off."""

    def make(folder: Path) -> None:
        tensors = read(folder)
        for key, tensor in tensors.items():
            if part in key:
                count = int(tensor.shape[0] * factor)
                size = len(tensor.data) // tensor.shape[0] * count
                data = (tensor.data * -(-count // tensor.shape[0]))[:size]
                tensors[key] = Tensor(tensor.dtype, (count, *tensor.shape[1:]), data)
        write(folder, tensors)

    return make


def rank(factor: int) -> Callable[[Path], None]:
    """So many times the rank in the tensors, with zeros; the config stays."""

    def make(folder: Path) -> None:
        tensors = read(folder)
        for key, tensor in tensors.items():
            first, second = tensor.shape
            if ".lora_A." in key:
                data = tensor.data + bytes(len(tensor.data) * (factor - 1))
                tensors[key] = Tensor(tensor.dtype, (first * factor, second), data)
            else:
                row = len(tensor.data) // first
                lines = (tensor.data[i * row : (i + 1) * row] for i in range(first))
                data = b"".join(line + bytes(row * (factor - 1)) for line in lines)
                tensors[key] = Tensor(tensor.dtype, (first, second * factor), data)
        write(folder, tensors)

    return make


def one_value(value: float) -> Callable[[Path], None]:
    """The first value of the first B becomes `value`."""

    def make(folder: Path) -> None:
        tensors = read(folder)
        key = next(key for key in sorted(tensors) if ".lora_B." in key)
        old, first = tensors[key], encoded(value, tensors[key].dtype)
        tensors[key] = Tensor(old.dtype, old.shape, first + old.data[len(first) :])
        write(folder, tensors)

    return make


def beside(part: str, new: str, width: int | None = None) -> Callable[[Path], None]:
    """Beside each tensor whose key has `part`, one of zeros under a key with `new` instead."""

    def make(folder: Path) -> None:
        tensors = read(folder)
        for key, tensor in list(tensors.items()):
            if part in key:
                shape = (tensor.shape[0],) if width is None else (tensor.shape[0], width)
                size = 4 * shape[0] * (width or 1)
                tensors[key.replace(part, new)] = Tensor("F32", shape, bytes(size))
        write(folder, tensors)

    return make


def text(name: str, content: str) -> Callable[[Path], None]:
    """Put this text into a file of the folder."""
    return lambda folder: _put(folder / name, content)


def _put(file: Path, content: str) -> None:
    file.write_text(content, encoding="utf-8")


def _truncate(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])


def _loop(folder: Path) -> None:
    """A link to itself: nobody can read it, root neither."""
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(WEIGHTS)


def _low_rank(folder: Path) -> None:
    configure(folder, r=read_config(folder)["r"] // 2)


_LOST = r"not be applied|no module of that name|expected target modules"


@cache
def bad_adapters(good: GoodAdapter) -> Mapping[str, Bad]:
    """By name, in the words of the good adapter's own modules.

    `fan_in_fan_out` speaks of the base layer's weights; for nn.Linear PEFT unsets it.
    """
    fused, plain = good.fused, good.plain
    wrong, other = _misspelt(plain), _misspelt(good.parent)
    return {
        "missing-b": Bad(f"{plain} without B", drop(f".{plain}.lora_B"), rf"{plain}.*lora_B"),
        "missing-b-fused": Bad(
            f"{fused} without B, alpha = rank",
            each(drop(f".{fused}.lora_B"), config(lora_alpha=8)),
            rf"{fused}.*lora_B",
        ),
        "missing-a": Bad(f"{fused} without A", drop(f".{fused}.lora_A"), rf"{fused}.*lora_A"),
        "shape-larger": Bad(
            f"B of {plain} for twice the outputs",
            rows(f".{plain}.lora_B", 2),
            rf"{plain}.*\b{2 * good.outputs}\b",
        ),
        "shape-smaller": Bad(
            f"B of {plain} for half the outputs",
            rows(f".{plain}.lora_B", 0.5),
            rf"{plain}.*\b{good.outputs // 2}\b",
        ),
        "rank-in-config": Bad("rank 8, the config says 4", _low_rank, r"rank|\br\b"),
        "rank-in-tensors": Bad("rank 16, the config says 8", rank(2), r"rank"),
        "rank-above-maximum": Bad(
            "rank 16, the server's maximum is 8",
            each(rank(2), config(r=16)),
            r"rank 16.*max_lora_rank",
        ),
        "other-prefix": Bad(
            "keys of another model", rename("base_model.model.", "base_model.model.other."), _LOST
        ),
        "misspelt-module": Bad(f"{wrong} for {plain}", rename(f".{plain}.", f".{wrong}."), wrong),
        "misspelt-path": Bad(
            f"{other} for {good.parent} in one layer",
            rename(f".{good.parent}.", f".{other}.", only=".layers.1."),
            other,
        ),
        "layer-beyond": Bad(
            "one layer's tensors for layer 99", rename(".layers.1.", ".layers.99."), r"layers\.99"
        ),
        "nan": Bad("one NaN in B", one_value(float("nan")), r"(?i)nan|finite"),
        "infinity": Bad("one infinity in B", one_value(float("inf")), r"(?i)inf|finite"),
        "overflow": Bad("3e38 in B: finite, its products are not", one_value(3e38)),
        "empty-file": Bad("a file of 0 bytes", text(WEIGHTS, ""), r"(?i)safetensor|header"),
        "truncated": Bad(
            "the last 1000 bytes lost", _truncate, r"(?i)safetensor|incomplete|header"
        ),
        "no-tensors": Bad(
            "a file without tensors", lambda f: write(f, {}), r"(?i)no .*tensor|empty"
        ),
        "no-config": Bad(
            "no adapter_config.json", lambda f: (f / CONFIG).unlink(), r"(?i)no adapter"
        ),
        "config-no-json": Bad("a config that is no JSON", text(CONFIG, "{"), r"(?i)json|Expecting"),
        "unknown-type": Bad("peft_type NOVEL", config(peft_type="NOVEL"), r"NOVEL"),
        "other-type": Bad(
            "a LoHa adapter",
            each(config(peft_type="LOHA"), rename(".lora_A.weight", ".hada_w1_a")),
            r"(?i)loha|hada_w1_a|unsupported",
        ),
        "dora": Bad(
            "DoRA",
            each(config(use_dora=True), beside(".lora_B.weight", ".lora_magnitude_vector")),
            r"DoRA",
        ),
        "dora-undeclared": Bad(
            "DoRA's magnitudes, not declared",
            beside(".lora_B.weight", ".lora_magnitude_vector"),
            r"magnitude",
        ),
        "modules-to-save": Bad(
            "modules_to_save: lm_head",
            each(
                config(modules_to_save=["lm_head"]),
                beside(f"layers.0.{good.parent}.{plain}.lora_A", "lm_head", 128),
            ),
            r"modules_to_save.*lm_head",
        ),
        "bias": Bad(
            "bias: lora_only",
            each(config(bias="lora_only"), beside(".lora_B.weight", ".base_layer.bias")),
            r"(?i)bias",
        ),
        "lora-bias": Bad(
            "lora_bias: a bias on B",
            each(config(lora_bias=True), beside(".lora_B.weight", ".lora_B.bias")),
            r"(?i)bias",
        ),
        "unreadable": Bad(
            "a path that cannot be read", _loop, r"(?i)symbolic|read|doesn't contain"
        ),
        "fan-in-fan-out": Bad(
            "fan_in_fan_out, which PEFT ignores here", config(fan_in_fan_out=True)
        ),
    }


def _misspelt(name: str) -> str:
    """Without its last letter but one: `o_prj` for `o_proj`, `self_atn` for `self_attn`."""
    return name[:-2] + name[-1:] if not name.endswith("proj") else name.replace("proj", "prj")


KINDS = tuple(
    bad_adapters(
        GoodAdapter(adapter="", parent="self_attn", fused="v_proj", plain="o_proj", outputs=2)
    )
)
"""Their names, the same for every family."""


def bad_copy(folder: Path, target: Path, kind: str, good: GoodAdapter) -> Path:
    """Copy the `folder` of the good adapter to `target` and make it bad; `kind` is one of KINDS."""
    copy(folder, target)
    bad_adapters(good)[kind].make(target)
    return target
