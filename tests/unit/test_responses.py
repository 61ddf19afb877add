"""What /v1/responses is asked and says, and pictures that are named instead of sent."""

from typing import Any

from mm_lora.core.asking import Picture, Request
from mm_lora.serving import responses
from mm_lora.serving.client import messages
from mm_lora.serving.media_parts import data_url

PICTURE = Picture(width=64, height=64)


def body(**more: Any) -> dict[str, Any]:
    """As vLLM 0.32.0 answers, cut to what is read."""
    said = [{"token": "six", "logprob": -0.5}, {"token": "!", "logprob": -1.5}]
    text = {"type": "output_text", "text": "six!", "logprobs": said}
    return {
        "id": "resp_1",
        "model": "mine",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [{"type": "message", "content": [text]}],
        "usage": {"input_tokens": 20, "output_tokens": 2},
        "output_messages": [{"message": "six!", "tokens": [7, 8]}],
        **more,
    }


def test_pictures_come_before_the_text_and_tokens_are_asked_for() -> None:
    told = responses.options(Request(model="mine", pictures=(PICTURE,), max_tokens=3, top=2))
    shown, text = told["input"][0]["content"]
    assert (shown["type"], shown["image_url"]) == ("input_image", data_url(PICTURE))
    assert text["type"] == "input_text"
    assert (told["max_output_tokens"], told["top_logprobs"], told["temperature"]) == (3, 2, 0.0)
    assert told["extra_body"] == {"ignore_eos": True, "enable_response_messages": True}


def test_an_answer_is_as_one_of_a_chat() -> None:
    found = responses.answer(body())
    assert (found.model, found.text, found.id) == ("mine", "six!", "resp_1")
    assert found.token_ids == (7, 8)
    assert found.logprobs == (-0.5, -1.5)
    assert (found.prompt_tokens, found.completion_tokens) == (20, 2)
    assert found.finish_reason == "max_output_tokens"
    assert found.problems(Request(model="mine", max_tokens=2), 20) == []


def test_an_answer_without_a_text_is_not_valid() -> None:
    for empty in (body(output=[]), body(output=[{"type": "reasoning", "content": None}])):
        found = responses.answer(empty)
        assert "empty text" in found.problems(Request(model="mine", max_tokens=2), 20)


def test_a_picture_that_is_known_by_its_uuid_is_not_sent() -> None:
    request = Request(model="mine", pictures=(PICTURE, PICTURE), uuid="dice")
    first, second, text = messages(request)[0]["content"]
    assert (first["uuid"], second["uuid"]) == ("dice-0", "dice-1")
    assert first["image_url"]["url"] == data_url(PICTURE)
    assert "uuid" not in text
    named = Request(model="mine", pictures=(PICTURE,), uuid="dice", pixels=False)
    assert messages(named)[0]["content"][0] == {
        "type": "image_url",
        "image_url": None,
        "uuid": "dice-0",
    }
    plain = messages(Request(model="mine", pictures=(PICTURE,)))
    assert "uuid" not in plain[0]["content"][0]
