"""`mm-lora serve` without a server: the request and the line that are printed."""

import json
from pathlib import Path

from mm_lora.checks.roles import everyone
from mm_lora.cli.commands.serve import picture_request, try_it
from mm_lora.families import registry


def test_request_is_a_picture_question() -> None:
    request = json.loads(json.dumps(picture_request("all", b"png")))
    assert request["model"] == "all"
    picture, text = request["messages"][0]["content"]
    assert picture["image_url"]["url"] == "data:image/png;base64,cG5n"
    assert text["type"] == "text"


def test_curl_line_survives_spaces() -> None:
    line = try_it("http://127.0.0.1:8000", "all", Path("/tmp/a b/ask.json"))
    assert "http://127.0.0.1:8000/v1/chat/completions" in line
    assert "'@/tmp/a b/ask.json'" in line


def test_patch_embedding_is_not_served_by_default() -> None:
    served = everyone(registry.family("llama4"))
    assert "patch-embedding" not in served
    assert "all" in served
