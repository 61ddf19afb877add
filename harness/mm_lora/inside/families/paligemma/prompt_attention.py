"""Fix: PaliGemma's whole prompt attends to itself, texts too, as the model was trained.

vLLM lets the rows of one placeholder see each other. So the placeholder becomes the whole prompt,
of which the picture's tokens alone are embedded; its blocks are cached for that prompt alone. It is
read in one step, if a step can hold it: a row cannot see what is read later.
"""

import dataclasses
import hashlib
from typing import Any

from ...registry import Patch

MODULE = "vllm.model_executor.models.paligemma"
SCHEDULER = "vllm.v1.core.sched.scheduler"
WHOLE_SPAN = "mm_prefix_span_leading_pad_modulus"
"""With 1, vLLM takes a placeholder's whole range, not its embedded tokens (0.32.0,
gpu_model_runner.py)."""


def _over_the_prompt(original: Any) -> Any:
    def apply(self: Any, *given: Any, **named: Any) -> Any:
        inputs = original(self, *given, **named)
        ids = inputs["prompt_token_ids"]
        places = inputs["mm_placeholders"].get("image", [])
        inputs["mm_placeholders"]["image"] = [over(place, len(ids)) for place in places]
        # A row's keys depend on texts behind it: no other prompt may find them by what is before.
        inputs["cache_salt"] = hashlib.sha256(repr(ids).encode()).hexdigest()
        return inputs

    return apply


def over(place: Any, length: int) -> Any:
    """The placeholder (vLLM's PlaceholderRange) over all `length` tokens of the prompt."""
    embedded = place.is_embed
    whole = embedded.new_zeros(length)
    whole[place.offset : place.offset + place.length] = embedded
    return dataclasses.replace(place, offset=0, length=length, is_embed=whole)


def _whole_spans(original: Any) -> Any:
    # With the names by which vLLM tells a model of its own kind (model_loader/utils.py).
    def init(self: Any, *, vllm_config: Any, prefix: str = "") -> None:
        setattr(vllm_config.model_config.hf_text_config, WHOLE_SPAN, 1)
        original(self, vllm_config=vllm_config, prefix=prefix)

    return init


def _at_once(original: Any) -> Any:
    # `disable_chunked_mm_input` does not do it, not even where it is on: vLLM goes back to before
    # the placeholder, and there is nothing before this one.
    def schedule(
        self: Any, request: Any, computed: int, rows: int, budget: int, *more: Any, **named: Any
    ) -> Any:
        length = request.num_prompt_tokens
        whole = any(feature.mm_position.length == length for feature in request.mm_features)
        if whole and rows < length - computed <= self.max_num_scheduled_tokens:
            return [], 0, budget, [], []
        return original(self, request, computed, rows, budget, *more, **named)

    return schedule


PATCH = Patch(
    id="paligemma-prompt-attention",
    kind="fix",
    versions=">=0.32",
    wraps={
        f"{MODULE}:PaliGemmaMultiModalProcessor.apply": _over_the_prompt,
        f"{MODULE}:PaliGemmaForConditionalGeneration.__init__": _whole_spans,
        f"{SCHEDULER}:Scheduler._try_schedule_encoder_inputs": _at_once,
    },
    reason="the ranges that see all of themselves are those of placeholders; PaliGemma's is the "
    "whole prompt, texts included",
)
