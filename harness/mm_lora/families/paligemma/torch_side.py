"""PaliGemma on the torch side: a prompt that sees itself, texts alone, what is counted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from mm_lora.families.counting import Spans
from mm_lora.families.gemma3.torch_side import Gemma3Side, attended_causally
from mm_lora.families.paligemma.family import CAUSAL, FAMILY, TEXT_CAUSAL
from mm_lora.families.paligemma.miniature import IMAGE

ANSWER = 1
"""Its type among the tokens: it sees those before it. The prompt's, which sees itself, is 0."""


def text_attended_causally(model: Any) -> AbstractContextManager[None]:
    """What a server computes in which the rows of a picture see each other, and no more."""
    return _pictures_alone(model)


@contextmanager
def _pictures_alone(model: Any) -> Iterator[None]:
    whole, picture = model.model, model.config.image_token_id
    right = whole.forward

    def forward(**given: Any) -> Any:
        types = given["token_type_ids"]
        if types is not None:
            types = types.masked_fill(given["input_ids"] != picture, ANSWER)
        return right(**{**given, "token_type_ids": types})

    whole.forward = forward
    try:
        yield
    finally:
        del whole.forward


class PaliGemmaSide(Gemma3Side):
    """transformers' PaliGemmaForConditionalGeneration; norms and tower are Gemma 3's."""

    family = FAMILY
    base_mistakes: ClassVar[Mapping[str, Any]] = {
        CAUSAL: attended_causally,
        TEXT_CAUSAL: text_attended_causally,
    }

    def processed(self, processor: Any, prompt: str, media: Mapping[str, Any]) -> Any:
        """A text alone has no processor: its tokens, each of which sees those before it."""
        if media.get("images"):
            return super().processed(processor, prompt, media)
        return processor.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")

    def arguments(self, inputs: Any, length: int) -> dict[str, Any]:
        """Tokens behind the prompt are of the answer; no labels, which are for training."""
        known = super().arguments(inputs, length)
        known.pop("labels", None)
        if "token_type_ids" in known:
            known["token_type_ids"][:, inputs["input_ids"].shape[1] :] = ANSWER
        return known

    def picture_tokens(self, processor: Any) -> tuple[str, str]:
        """The processor puts placeholders before the text by itself."""
        return "", IMAGE

    def prompt_text(self, shown: str, count: int) -> str:
        """Not a word."""
        return shown

    def spans(self, tokens: Sequence[str]) -> Spans:
        """The only picture's are all of the prompt."""
        return [tokens]


SIDE = PaliGemmaSide()
