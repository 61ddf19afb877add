"""Questions whose prompts have a wanted number of tokens."""

from dataclasses import replace

from mm_lora.checks.running import Served
from mm_lora.core.asking import DICE_QUESTION, Request, Shown

_SAID = "Dice number one shows six pips and lies on the left of the next one. "


def filled(
    served: Served, model: str, tokens: int, pictures: tuple[Shown, ...] = (), answer: int = 16
) -> Request:
    """A question of at most `tokens` prompt tokens, less than a sentence fewer.

    The base is asked two short ones, to learn what a sentence takes.
    """

    def asked(sentences: int) -> Request:
        text = _SAID * sentences + DICE_QUESTION
        return Request(model=model, text=text, pictures=pictures, max_tokens=answer, top=5)

    short = [replace(asked(n), max_tokens=1, top=1).asking(served.base) for n in (1, 2)]
    one, two = (served.ask(request).prompt_tokens for request in short)
    return asked(max(1, 1 + (tokens - one) // max(1, two - one)))
