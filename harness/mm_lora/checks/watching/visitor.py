"""Asks a running server within one time limit, and leaves what its tenants share as it is."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from mm_lora.checks.watching.findings import PICTURE, TEXT
from mm_lora.core.asking import DICE_QUESTION, TEXT_QUESTION, Answer, Picture, Request
from mm_lora.core.errors import ServerTimeout

TOKENS = 8
"""Of each answer."""

_LIKELIEST = 20
_SIDE = 336
"""Pixels of the picture: every family takes it, most as one unit."""


class Asks(Protocol):
    """A client, so far as a visitor needs it."""

    def ask_fresh(self, request: Request, fresh: str, within_s: float) -> Answer:
        """See `serving.client.Client`."""
        ...


def question(kind: str, model: str) -> Request:
    """What each model is asked, with a picture of dice or with text alone."""
    dice = Picture(width=_SIDE, height=_SIDE)
    if kind == TEXT:
        return Request(model=model, text=TEXT_QUESTION, max_tokens=TOKENS, top=_LIKELIEST)
    assert kind == PICTURE
    return Request(
        model=model, text=DICE_QUESTION, pictures=(dice,), max_tokens=TOKENS, top=_LIKELIEST
    )


class Visitor:
    """Puts requests to one server until `limit_s` seconds are over, and counts them.

    Every request has a word of its own, so that no cache answers in the adapter's place; see
    `twice` for the one that has not. Raises ServerTimeout and ServerDied.
    """

    def __init__(
        self, client: Asks, limit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._limit_s = limit_s
        self._clock = clock
        self._until = clock() + limit_s
        self._shared = _new_word()
        self._counting = threading.Lock()
        self.requests = 0

    def twice(self, request: Request) -> tuple[Answer, Answer]:
        """The answer to a new request, and to the same one asked again with the word that every
        tenant has once: a cache that takes one for another is seen then."""
        return self.ask(request), self._ask(request, self._shared)

    def ask(self, request: Request) -> Answer:
        """The answer to a new request."""
        return self._ask(request, _new_word())

    def together(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers to new requests that are sent at the same time, in their order."""
        with ThreadPoolExecutor(max_workers=len(requests)) as threads:
            return list(threads.map(self.ask, requests))

    def _ask(self, request: Request, word: str) -> Answer:
        left = self._until - self._clock()
        late = f"the pass did not end in {self._limit_s:g} s"
        check = "--timeout, and how busy the server is"
        if left <= 0:
            raise ServerTimeout(f"{late}: '{request.model}' was not asked any more", check)
        with self._counting:
            self.requests += 1
        try:
            return self._client.ask_fresh(request, word, left)
        except ServerTimeout as error:
            raise ServerTimeout(f"{late}: no answer from '{request.model}'", check) from error


def _new_word() -> str:
    return f"mm-lora-watch-{secrets.token_hex(8)}"
