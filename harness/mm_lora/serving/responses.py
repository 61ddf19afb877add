"""/v1/responses of the OpenAI API: what a request is called with there, and what its body says."""

from collections.abc import Mapping
from typing import Any

from mm_lora.core.asking import Answer, Picture, Request
from mm_lora.serving.media_parts import data_url

# `enable_response_messages`: the tokens of the prompt and of the answer come with it.
_EXTRA = {"ignore_eos": True, "enable_response_messages": True}


def options(request: Request) -> dict[str, Any]:
    """What the client's `responses.create` is called with. Pictures alone; greedy."""
    pictures = (one for one in request.pictures if isinstance(one, Picture))
    parts: list[dict[str, Any]] = [
        {"type": "input_image", "image_url": data_url(one), "detail": "auto"} for one in pictures
    ]
    parts.append({"type": "input_text", "text": request.text})
    return {
        "model": request.model,
        "input": [{"role": "user", "content": parts}],
        "max_output_tokens": request.max_tokens,
        "temperature": 0.0,
        "include": ["message.output_text.logprobs"],
        "top_logprobs": request.top,
        "store": False,
        "extra_body": _EXTRA,
    }


def answer(raw: Mapping[str, Any]) -> Answer:
    """The answer in a body; without tokens where it has none."""
    said = [part for one in raw.get("output", ()) for part in one.get("content") or ()]
    text: Mapping[str, Any] = next((one for one in said if one["type"] == "output_text"), {})
    usage = raw.get("usage") or {}
    told = [one for one in raw.get("output_messages") or () if isinstance(one, Mapping)]
    return Answer(
        model=raw.get("model", ""),
        text=text.get("text", ""),
        token_ids=tuple(told[-1].get("tokens", ())) if told else (),
        logprobs=tuple(float(one["logprob"]) for one in text.get("logprobs") or ()),
        prompt_tokens=usage.get("input_tokens", 0),
        completion_tokens=usage.get("output_tokens", 0),
        finish_reason=(raw.get("incomplete_details") or {}).get("reason") or raw.get("status", ""),
        id=raw.get("id", ""),
        raw=raw,
    )
