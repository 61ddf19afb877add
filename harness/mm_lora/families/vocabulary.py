"""The miniatures' tokenizer: byte-level BPE with a few words and a family's special tokens."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

_WORDS = """
    red orange yellow green blue purple white black pink brown grey cyan
    one two three four five six seven eight nine ten zero none
    die dice dot dots pip pips face faces side sides cube cubes corner edge table picture
    left right top bottom upper lower middle centre first second third last next other
    the a an and or of in on at to with is are was be has it this that there they
    show shows see sees look looks like count sum total number numbers colour colours
    big small large tiny round square light dark bright plain same different each all both
    yes no not more less than about only very here what which how many
"""
WORDS = tuple(_WORDS.split())
"""What an answer is made of: each becomes one token, with its leading space."""


@cache
def byte_letters() -> tuple[str, ...]:
    """The letter that stands for each byte 0 … 255 in byte-level BPE (GPT-2's table)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return tuple(chr(byte) if byte in printable else chr(next(spare)) for byte in range(256))


@cache
def word_tokens() -> tuple[str, ...]:
    """The words as tokens: Ġ (the letter of the space) and the word."""
    space = byte_letters()[ord(" ")]
    return tuple(dict.fromkeys(space + word for word in WORDS))


@cache
def _merges() -> tuple[tuple[str, str], ...]:
    """Left to right through each word, so that every word ends as one token."""
    merges: dict[tuple[str, str], None] = {}
    for word in word_tokens():
        for end in range(1, len(word)):
            merges.setdefault((word[:end], word[end]))
    return tuple(merges)


@cache
def vocabulary(special: tuple[str, ...]) -> dict[str, int]:
    """Token → id: bytes, then merged tokens, then `special` tokens; no id is left undefined."""
    tokens = [*byte_letters(), *(left + right for left, right in _merges()), *special]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def token_id(special: Sequence[str], token: str) -> int:
    """The id of a token; KeyError where there is none."""
    return vocabulary(tuple(special))[token]


def token_ids(special: Sequence[str], named: Mapping[str, str]) -> dict[str, int]:
    """The ids of tokens by what config.json calls them: `bos` becomes `bos_token_id`."""
    return {f"{name}_token_id": token_id(special, token) for name, token in named.items()}


def answer_ids() -> tuple[int, ...]:
    """The ids that an answer may consist of: whole words, so that it is text and never empty."""
    known = vocabulary(())
    return tuple(known[token] for token in word_tokens())


def tokenizer_json(tokens: Sequence[str]) -> dict[str, Any]:
    """The content of `tokenizer.json` (`tokenizers` format 1.0); `tokens`: the special ones."""
    known, special = vocabulary(tuple(tokens)), set(tokens)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": known[token], "content": token, **flags, "special": True} for token in tokens
        ],
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": True},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for token, i in known.items() if token not in special},
            "merges": [list(pair) for pair in _merges()],
        },
    }


def tokenizer_config(
    tokens: Sequence[str], processor: str, most: int, **named: str
) -> dict[str, Any]:
    """The content of `tokenizer_config.json`; `most`: positions, `named`: `eos_token` and such."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": processor,
        **named,
        "additional_special_tokens": list(tokens),
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": most,
    }
