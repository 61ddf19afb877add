"""PaliGemma on the torch side: a prompt that sees itself, texts alone, what is counted."""

from collections.abc import Mapping, Sequence
from typing import Any

from mm_lora.families.counting import Spans
from mm_lora.families.gemma3.torch_side import Gemma3Side
from mm_lora.families.paligemma.family import FAMILY
from mm_lora.families.paligemma.miniature import IMAGE

ANSWER = 1
"""Its type among the tokens: it sees those before it. The prompt's, which sees itself, is 0."""


class PaliGemmaSide(Gemma3Side):
    """transformers' PaliGemmaForConditionalGeneration; norms and tower are Gemma 3's."""

    family = FAMILY

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
