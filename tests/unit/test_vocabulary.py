"""The miniature's vocabulary: complete, without gaps, and answers made of whole words."""

from hypothesis import given
from hypothesis import strategies as st

from mm_lora.families import registry
from mm_lora.families import vocabulary as v

SPECIAL = registry.family("llama4").special_tokens


def test_ids_have_no_gap() -> None:
    ids = v.vocabulary(SPECIAL)
    assert sorted(ids.values()) == list(range(len(ids)))
    assert set(v.byte_letters()) | set(SPECIAL) <= set(ids)
    assert len(set(v.byte_letters())) == 256


def test_tokenizer_file_has_every_token_once() -> None:
    data = v.tokenizer_json(SPECIAL)
    model, added = data["model"]["vocab"], data["added_tokens"]
    assert len(model) + len(added) == len(v.vocabulary(SPECIAL))
    assert {token["content"] for token in added} == set(SPECIAL)
    assert {token["id"] for token in added}.isdisjoint(model.values())
    for left, right in data["model"]["merges"]:
        assert {left, right, left + right} <= set(model)


def test_answers_are_words_with_their_space() -> None:
    words = {token for token, i in v.vocabulary(SPECIAL).items() if i in v.answer_ids()}
    assert {word.removeprefix("Ġ") for word in words} == set(v.WORDS)
    assert len(v.answer_ids()) == len(set(v.WORDS)) >= 100
    assert not words & set(SPECIAL)


@given(st.binary(max_size=40))
def test_every_byte_has_its_letter(data: bytes) -> None:
    letters = "".join(v.byte_letters()[byte] for byte in data)
    assert bytes(v.byte_letters().index(letter) for letter in letters) == data
    assert all(letter in v.vocabulary(SPECIAL) for letter in letters)


def test_merges_lead_to_each_word() -> None:
    merges = {tuple(pair) for pair in v.tokenizer_json(SPECIAL)["model"]["merges"]}
    for word in v.word_tokens():
        whole = word[0]
        for letter in word[1:]:
            assert (whole, letter) in merges
            whole += letter
