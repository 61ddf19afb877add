"""Qwen3-VL-MoE as a family: Qwen3-VL's tower and mergers, routed experts in the language model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from mm_lora.families.family import VllmClass
from mm_lora.families.modules import LANGUAGE, TOWER, by_name
from mm_lora.families.qwen import tower_qkv
from mm_lora.families.qwen.geometry import Layout
from mm_lora.families.qwen.vision import TEXT, forms
from mm_lora.families.qwen3_vl.family import Qwen3VL
from mm_lora.families.qwen3_vl.modules import GROUPS, MLP

BLOCKS = 27
"""Of the published towers."""

EXPERTS, CHOSEN, EXPERT_WIDTH = 8, 2, 48
"""The miniature's routed experts of a layer, how many of them a token gets, and their width: not so
that a parameter is square, since transformers and vLLM tell by its shape how it is stored."""

# Routed experts are one parameter for all of a layer: no Linear modules.
_ATTENTION = replace(
    GROUPS["language-model"],
    pattern=r"model\.language_model\.layers\.\d+\.self_attn\.[qkvo]_proj",
    target=f"{TEXT}.self_attn.?_proj",
    projections={f"language-{p}_proj": f"{TEXT}.self_attn.{p}_proj" for p in "qkvo"},
)
_PATCHES = replace(GROUPS["patch-embedding"], unwrapped="not among --lora-target-modules")


class Qwen3VLMoe(Qwen3VL):
    """The vision side is Qwen3-VL's, to the last number."""

    name = "qwen3-vl-moe"
    title = "Qwen3-VL-MoE"
    model_types = ("qwen3_vl_moe",)
    published = ("qwen3-vl-moe", "qwen3-vl-235b")
    state = "partly"
    state_reason = (
        "vLLM 0.32.0 has no LoRA layer for its tower's fused qkv; with the fix tower-qkv "
        "dice, coverage and the numerics of every projection pass, the rest of the core was not run"
    )
    repositories: ClassVar[Mapping[str, str]] = {
        "Qwen/Qwen3-VL-30B-A3B-Instruct": "qwen3-vl-moe",
        "Qwen/Qwen3-VL-235B-A22B-Instruct": "qwen3-vl-235b",
    }
    groups = by_name(
        *{**GROUPS, "language-model": _ATTENTION, "patch-embedding": _PATCHES}.values()
    )
    forms = replace(
        forms(groups, MLP, ("tower-mlp", "merger", "deepstack-mergers")),
        alphas={"o_proj": 5, "qkv": 40},
        ranks={"qkv": 2, "linear_fc1": 4},
    )
    vllm = VllmClass(module="qwen3_vl_moe", name="Qwen3VLMoeForConditionalGeneration")
    # Not the experts, whose LoRA layers no CPU can run. With `proj`, which would name the patch
    # embedding too, and with `qkv`, which the class does not list as packed, vLLM does not start:
    # the fix "tower-qkv" chooses that one by itself.
    target_modules = (
        *(*MLP, "qkv_proj", "o_proj"),
        *(f"visual.blocks.{block}.attn.proj" for block in range(BLOCKS)),
    )
    predictors = (tower_qkv.IGNORED,)
    predicted_roles = (TOWER, LANGUAGE)
    known_flows = tuple(replace(one, model="qwen3-vl-moe") for one in Qwen3VL.known_flows)

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """Fewer and narrower experts, in the published layers."""
        small = super().miniature(config, layout)
        small["text_config"].update(
            num_experts=EXPERTS, num_experts_per_tok=CHOSEN, moe_intermediate_size=EXPERT_WIDTH
        )
        return small

    def predicted_coverage(self, found: Sequence[Any]) -> tuple[str, ...]:
        """The fused projection of the tower has no layer, and nothing else is amiss."""
        return tower_qkv.explains(found)


FAMILY = Qwen3VLMoe()
