"""The OpenAI client as users have it: one request in, one typed answer out."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import httpx

from mm_lora.core.asking import Answer, Request
from mm_lora.core.errors import ServerDied, ServerError, ServerTimeout
from mm_lora.serving import http, responses
from mm_lora.serving.media_parts import embeds_part, shown_part

CACHES = ("prefix", "mm", "encoder")

# Teacher-forced comparison needs the sampled token's own logprob and its id; neither changes
# what is sampled. `ignore_eos` keeps every answer at its full length.
_EXTRA = {"return_token_ids": True, "ignore_eos": True}
_HEALTH_S = 5
_LIKELIEST = 20
"""Sampled are these alone: a token of a medium in an answer could not be forced."""


def messages(request: Request) -> list[dict[str, Any]]:
    """The chat messages of a request: pictures or sounds first, then videos, then the text."""
    parts = [shown_part(shown) for shown in request.media]
    if request.embeds:
        parts = [embeds_part(request.embeds)]
    if request.uuid:
        for at, part in enumerate(parts):
            part["uuid"] = f"{request.uuid}-{at}"
            if not request.pixels:
                part[part["type"]] = None
    return [{"role": "user", "content": [*parts, {"type": "text", "text": request.text}]}]


def options(request: Request, fresh: str = "") -> dict[str, Any]:
    """What the OpenAI client is called with for a request: of `completions` where it has token ids
    for a prompt, else of `chat.completions`.

    `fresh`: a word by which vLLM's prefix cache and encoder cache know the request apart from the
    same one asked with another word; what they hold for others stays.
    """
    extra: dict[str, Any] = dict(_EXTRA)
    told: dict[str, Any] = {"model": request.model, "max_tokens": request.max_tokens}
    if request.prompt:
        told |= {"prompt": list(request.prompt), "logprobs": request.top}
    else:
        told |= {"messages": messages(request), "logprobs": True, "top_logprobs": request.top}
    if request.seed is None:
        told["temperature"] = 0.0
    else:
        told |= {"temperature": 1.0, "seed": request.seed}
        extra["top_k"] = _LIKELIEST
    if request.answers > 1:
        told["n"] = request.answers
    if request.beams:
        extra["use_beam_search"] = True
    if request.prompt_logprobs:
        extra["prompt_logprobs"] = 0  # of the prompt's own tokens alone
    if fresh:
        extra["cache_salt"] = fresh
        for at, part in enumerate(_media_parts(told.get("messages", ()))):
            part["uuid"] = f"{fresh}-{at}"
    if request.engine is not None:
        told["extra_headers"] = {"X-data-parallel-rank": str(request.engine)}
    return {**told, "extra_body": extra}


def _media_parts(asked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [part for one in asked for part in one["content"] if part["type"] != "text"]


class Client:
    """Asks one server. Errors of the transport become ServerDied or ServerTimeout of ours."""

    def __init__(self, base_url: str, timeout_s: float, api_key: str | None = None) -> None:
        import openai  # 0.5 s and 60 MB: not for `--help`

        self._openai = openai
        self.base_url = base_url.rstrip("/")
        self._key = api_key
        self._timeout_s = timeout_s
        # Any: what openai names as its type differs by version.
        wire: Any = http.client(self.base_url, timeout_s, api_key)
        self._client = openai.OpenAI(
            base_url=f"{self.base_url}/v1",
            api_key=api_key or "none",
            timeout=timeout_s,
            max_retries=0,  # a retry would hide a server that dies on a request
            http_client=wire,
        )

    def ask(self, request: Request) -> Answer:
        """Send one completion and return its answer; an HTTP error becomes an Answer too.

        Of several answers the first one: see `every_answer`.
        """
        return self._guarded(request, self._streamed if request.stream else self._whole)

    def ask_fresh(self, request: Request, fresh: str, within_s: float) -> Answer:
        """As `ask`, unstreamed, waiting for `within_s` seconds; `fresh`: see `options`."""
        return self._guarded(request, partial(self._whole, fresh=fresh, timeout=within_s))

    def leave(self, request: Request, after: int) -> Answer:
        """Send one chat completion and close the connection once `after` tokens have come.

        Returns the beginning of the answer, so far as it came.
        """
        return self._guarded(request, partial(self._streamed, after=after))

    def _guarded(self, request: Request, send: Callable[[Request], Answer]) -> Answer:
        try:
            return send(request)
        # An older openai lets what breaks a stream through as it is.
        except (self._openai.APITimeoutError, httpx.TimeoutException) as error:
            raise ServerTimeout(
                f"no answer to a request for '{request.model}' in the profile's time",
                "request_timeout_s of the profile, and the server's log",
            ) from error
        except (self._openai.APIConnectionError, httpx.HTTPError) as error:
            raise ServerDied(
                f"the connection broke during a request for '{request.model}'", "the server's log"
            ) from error
        except self._openai.APIStatusError as error:
            return _refused(request, self.hidden(str(error)), error.status_code)

    def _whole(self, request: Request, fresh: str = "", **told: Any) -> Answer:
        if request.responses:
            response = self._client.responses.create(**responses.options(request))
            return responses.answer(response.model_dump(exclude_none=True))
        route: Any = self._client.completions if request.prompt else self._client.chat.completions
        completion = route.create(**options(request, fresh), **told)
        return whole_answer(request, completion.model_dump(exclude_none=True), self.hidden)

    def _streamed(self, request: Request, after: int | None = None) -> Answer:
        stream = self._client.chat.completions.create(
            **options(request), stream=True, stream_options={"include_usage": True}
        )
        text = ""
        ids: list[int] = []
        logprobs: list[float] = []
        model, finish = "", ""
        usage: dict[str, Any] = {}
        chunks = []
        for event in stream:
            raw = event.model_dump(exclude_none=True)
            chunks.append(raw)
            model = raw.get("model") or model
            usage = raw.get("usage") or usage
            for choice in raw.get("choices", ()):
                text += choice.get("delta", {}).get("content") or ""
                ids += choice.get("token_ids") or []
                logprobs += _logprobs(choice)
                finish = choice.get("finish_reason") or finish
            if after is not None and len(ids) >= after:
                stream.close()
                break
        return Answer(
            model=model,
            text=text,
            token_ids=tuple(ids),
            logprobs=tuple(logprobs),
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage.get("completion_tokens", 0),
            finish_reason=finish,
            id=chunks[-1].get("id", "") if chunks else "",
            raw={"chunks": len(chunks), "last": chunks[-1] if chunks else None},
        )

    def reset_caches(self, names: Sequence[str] = CACHES) -> None:
        """Empty the prefix, processor ("mm") and encoder caches (vLLM's developer mode).

        Raises ServerError where the server does not offer it: exact claims need one cache state.
        """
        for name in names:
            status, body = self.post(f"/reset_{name}_cache")
            if status != 200:
                raise ServerError(
                    f"POST /reset_{name}_cache answered {status}: {body[:200]}",
                    "the server must run with VLLM_SERVER_DEV_MODE=1",
                )

    def hold(self) -> bool:
        """Let requests queue up, until `release`, so that they are scheduled in one step.

        False where this vLLM cannot (developer mode again).
        """
        status, _ = self.post("/pause?mode=keep&clear_cache=false")
        return status == 200

    def release(self) -> None:
        """Schedule what has queued up. Raises ServerError."""
        status, body = self.post("/resume")
        if status != 200:
            raise ServerError(f"POST /resume answered {status}: {body[:200]}", "the server's log")

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, str]:
        """A plain POST beside the OpenAI API (cache resets, adapters): status and text.

        It works after `close`, too: adapters are taken off a server that is asked nothing more.
        """
        try:
            response = http.request("POST", self.base_url, path, self._timeout_s, self._key, body)
        except httpx.HTTPError as error:
            raise ServerDied(f"POST {path} failed: {error}", "the server's log") from error
        return response.status_code, self.hidden(response.text)

    def get(self, path: str) -> tuple[int, str]:
        """A plain GET beside the OpenAI API (metrics, states): status and text."""
        try:
            response = http.request("GET", self.base_url, path, self._timeout_s, self._key)
        except httpx.HTTPError as error:
            raise ServerDied(f"GET {path} failed: {error}", "the server's log") from error
        return response.status_code, self.hidden(response.text)

    def is_healthy(self) -> bool:
        """Whether the server says that its engine lives (vLLM: 503 where it does not)."""
        try:
            response = http.request("GET", self.base_url, "/health", _HEALTH_S, self._key)
        except httpx.HTTPError:
            return False
        return response.status_code == 200

    def hidden(self, text: str) -> str:
        """The text without the API key, which a server may repeat: answers are stored."""
        return text.replace(self._key, "***") if self._key else text

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()


def _logprobs(choice: Mapping[str, Any]) -> tuple[float, ...]:
    told = choice.get("logprobs") or {}
    if "token_logprobs" in told:  # /v1/completions
        return tuple(float(value) for value in told["token_logprobs"])
    return tuple(float(entry["logprob"]) for entry in told.get("content") or ())


def every_answer(request: Request, answer: Answer) -> list[Answer]:
    """Each of the answers to one request, of which `answer` has the first and the raw body."""
    raw = dict(answer.raw or {})
    choices = raw.get("choices", ())
    return [whole_answer(request, {**raw, "choices": [choice]}) for choice in choices] or [answer]


def whole_answer(
    request: Request, raw: dict[str, Any], hidden: Callable[[str], str] = str
) -> Answer:
    """The first answer in a completion's body; one without any is the server's error.

    vLLM 0.16.0 says HTTP 200 to a request that its engine has died of.
    """
    if not raw.get("choices"):
        said = hidden(str(raw.get("error") or raw))
        return _refused(request, f"HTTP 200 without an answer: {said}", 500)
    choice = raw["choices"][0]
    usage = raw.get("usage", {})
    return Answer(
        model=raw["model"],
        text=choice.get("text") or choice.get("message", {}).get("content") or "",
        token_ids=tuple(choice.get("token_ids") or ()),
        logprobs=_logprobs(choice),
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
        finish_reason=choice.get("finish_reason") or "",
        id=raw.get("id", ""),
        raw=raw,
    )


def _refused(request: Request, said: str, status: int) -> Answer:
    """An HTTP error as an answer without tokens: what the server said is an observation too."""
    return Answer(
        model=request.model,
        text="",
        token_ids=(),
        logprobs=(),
        prompt_tokens=0,
        completion_tokens=0,
        finish_reason="",
        status=status,
        raw={"error": said[:2000]},
    )
