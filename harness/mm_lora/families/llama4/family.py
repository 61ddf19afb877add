"""Llama 4 (Scout, Maverick, and the geometry of vLLM pull request 35147) as a family."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.family import Bundle, Family, GoodAdapter, Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase
from mm_lora.families.forms import peft_forms
from mm_lora.families.llama4 import explain, known_flows, miniature, modules, pictures
from mm_lora.families.llama4.geometry import Geometry, token_flow
from mm_lora.families.llama4.layout import drawing, layout_of
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.families.pictures import Picture

UNPUBLISHED = "unpublished: transformers' class defaults, not those of a published checkpoint"
QK_ROWS = "language-qk-rows-not-permuted"


class Llama4(Family):
    """Tiles of one size, each p² patches and a class token; pixel shuffle before the connector."""

    name = "llama4"
    title = "Llama 4"
    model_types = ("llama4", "llama4_vision_model")
    published = ("scout", "maverick", "pr35147")
    repositories: ClassVar[Mapping[str, str]] = {
        "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8": "scout",
        "nvidia/Llama-4-Maverick-17B-128E-Instruct-FP8": "maverick",
    }
    groups = modules.GROUPS
    formulas: ClassVar[Mapping[str, str]] = {
        "patch": "chunks · p², p = image_size / patch_size",
        "encoder": "chunks · (p² + 1): the class token comes after the patch embedding",
        "connector": "chunks · p² · pixel_shuffle_ratio² (vLLM pull request 35147)",
    }
    bundles: ClassVar[Mapping[str, Bundle]] = {
        # The targets of vLLM pull request 35147: 331 modules on full Scout.
        "pr35147": Bundle(
            targets=(
                *(
                    modules.GROUPS[name].target
                    for name in ("tower-attention", "vision-adapter", "projector")
                ),
                modules.LANGUAGE_ATTENTION,
            ),
            roles=(TOWER, CONNECTOR, LANGUAGE),
        )
    }
    forms = peft_forms(
        modules.GROUPS,
        # Without q and k of the language model: see known_defects.toml.
        wide=(
            *("tower-attention", "vision-adapter", "projector"),
            *("language-v_proj", "language-down_proj"),
        ),
        ranks={"q_proj": 2, "fc1": 4},
        alphas={"o_proj": 5, "fc2": 40},
        # PEFT takes a list as ends of module paths: tower MLP and vision adapter at once.
        ends=("fc1", "fc2"),
        ends_groups=("tower-mlp", "vision-adapter"),
    )
    good = GoodAdapter(adapter="tower-attention", outputs=64)
    sizes = Sizes(labels={"one": "1-chunk", "few": "3-chunks", "many": "7-chunks"}, unit="chunk")
    special_tokens = miniature.SPECIAL_TOKENS
    vllm = VllmClass(module="mllama4", name="Llama4ForConditionalGeneration")
    feature_patch = "llama4-tower-connector-lora"
    # Not `linear` (patch embedding) and not `experts`: see known_defects.toml.
    target_modules = (
        *("qkv_proj", "o_proj", "fc1", "fc2", "linear_1"),
        *("gate_up_proj", "down_proj"),
    )
    every_target_module = (
        *("qkv_proj", "o_proj", "fc1", "fc2", "linear_1", "linear"),
        *("gate_up_proj", "down_proj"),
    )
    predictors = (QK_ROWS,)
    core_numbers = (("language-k_proj", "text-only"),)
    later = "tower-v_proj"
    known_flows = known_flows.KNOWN_FLOWS
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "vision_model.patch_embedding.linear": TOWER,
        "vision_model.model.layers.33.self_attn.qkv_proj": TOWER,
        "vision_model.model.layers.0.mlp.fc2": TOWER,
        "vision_model.vision_adapter.mlp.fc1": CONNECTOR,
        "vision_model.vision_adapter.mlp.fc2": CONNECTOR,
        "multi_modal_projector.linear_1": CONNECTOR,
        "language_model.model.layers.47.self_attn.o_proj": LANGUAGE,
    }

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Geometry:
        """image_size, patch_size, pixel_shuffle_ratio and the most tiles."""
        return layout_of(config, folder)

    def published_layout(self, data: Mapping[str, Any]) -> Geometry:
        """`max_chunks` is the image processor's, stored beside the config."""
        return Geometry.from_config(data["config"], max_chunks=data["max_chunks"])

    def source_note(self, layout: Geometry) -> str:
        """Says where the numbers are transformers' defaults (448)."""
        defaults = Geometry.from_config({"vision_config": {}}, max_chunks=layout.max_chunks)
        return UNPUBLISHED if layout == defaults else ""

    def flow(self, layout: Geometry, medium: Medium) -> Flow:
        """Rows are sums over a picture's chunks."""
        flow = token_flow(layout, medium.width, medium.height)
        return Flow(
            name=f"{flow.width}×{flow.height}",
            size=(flow.width, flow.height),
            rows={
                "patch": flow.patch_rows,
                "encoder": flow.encoder_rows,
                "connector": flow.connector_rows,
            },
            tokens=flow.image_tokens,
            prompt_tokens=flow.prompt_tokens,
            units=flow.chunks,
            details={
                "tile_rows": flow.tile_rows,
                "tile_columns": flow.tile_columns,
                "chunks": flow.chunks,
            },
            drawing=drawing(flow),
        )

    def describe(self, layout: Geometry) -> Sequence[str]:
        """The geometry, and the rows of one chunk."""
        return (
            f"image_size {layout.image_size} / patch_size {layout.patch_size} / "
            f"pixel_shuffle_ratio {layout.pixel_shuffle_ratio}, up to {layout.max_chunks} tiles",
            f"rows of one chunk: {layout.patch_rows} patches, {layout.encoder_rows} encoder "
            f"(with CLS), {layout.connector_rows} connector",
        )

    def miniature(self, config: Mapping[str, Any], layout: Geometry) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config, layout)

    def side_files(self, layout: Geometry) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(layout)

    def questions(self, layout: Geometry) -> Sequence[Sequence[Picture]]:
        """Every picture alone, one for each chunk count, then several in one prompt."""
        alone = [*pictures.pictures(layout), *pictures.every_chunk_count(layout)]
        return [*((picture,) for picture in alone), *pictures.prompts(layout)]

    def hook_cases(self, layout: Geometry) -> Sequence[HookCase]:
        """Whole chunks from 1 to one more than there can be, and numbers that no picture has."""
        return known_flows.hook_cases(layout)

    def role_of_path(self, path: str) -> str | None:
        """The vision adapter is no tower, though it lies under the tower's prefix."""
        return next((role for prefix, role in modules.ROLES if path.startswith(prefix)), None)

    def predicted_rows(self, layout: Geometry, found: Sequence[Any]) -> tuple[str, ...]:
        """See `explain`."""
        return explain.rows(layout, found)

    def predicted_coverage(self, found: Sequence[Any]) -> tuple[str, ...]:
        """See `explain`."""
        return explain.coverage(found)


FAMILY = Llama4()
