"""GLM-4.1V (dense) as a family."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mm_lora.families.family import VllmClass
from mm_lora.families.forms import peft_forms
from mm_lora.families.image_processor import VIDEO_NAME
from mm_lora.families.modules import (
    CONNECTOR,
    LANGUAGE,
    TOWER,
    ModuleGroup,
    by_name,
    language_model,
    siblings,
)
from mm_lora.families.qwen import miniature, tower_qkv
from mm_lora.families.qwen.geometry import Layout
from mm_lora.families.qwen.vision import TEXT, QwenVision, groups, measured

_MLP = ("gate_proj", "up_proj", "down_proj")
_MERGER = "model.visual.merger"
_SHARED = groups(_MLP, "*_proj")
GROUPS = by_name(
    *(_SHARED[name] for name in ("tower-attention", "tower-mlp", "patch-embedding")),
    # Another convolution: merge × merge patches become the first row of the merger.
    ModuleGroup(
        name="downsample",
        pattern=r"model\.visual\.downsample",
        role=TOWER,
        rows="merged",
        target="model.visual.downsample",
        unwrapped="vLLM counts its name not among the model's LoRA modules",
    ),
    siblings("merger", _MERGER, ("proj", *_MLP), "*proj", role=CONNECTOR, rows="merged"),
    # The language model's MLP has gate and up in one module, on disk too.
    language_model(TEXT, ("gate_up", "down")),
)


class Glm41V(QwenVision):
    """A picture counts as two equal frames, and each frame pair of a video has markers."""

    name = "glm-4.1v"
    title = "GLM-4.1V"
    model_types = ("glm4v",)
    published = ("glm-4.1v",)
    repositories: ClassVar[Mapping[str, str]] = {"zai-org/GLM-4.1V-9B-Thinking": "glm-4.1v"}
    state = "partly"
    state_reason = (
        "vLLM refuses adapters with gate and up of tower or merger, and ignores the tower's qkv"
    )
    groups = GROUPS
    formulas: ClassVar[Mapping[str, str]] = {
        "patch": "⌈frames / temporal_patch_size⌉ · h · w patches of the resized medium; each side "
        "is whole squares of patch_size · merge pixels, and the pixel limits hold for all frames "
        "together, a picture as temporal_patch_size of them (GLM-4.1V, arXiv 2507.01006)",
        "merged": "patch rows / spatial_merge_size²",
    }
    forms = peft_forms(
        GROUPS,
        # Neither the tower's qkv nor gate and up of tower and merger, see known_defects.toml.
        wide=(
            *("tower-proj", "tower-down_proj", "merger-proj", "merger-down_proj"),
            "language-model",
        ),
        ranks={"attn.proj": 2, "down_proj": 4},
        alphas={"o_proj": 5, "attn.proj": 40},
        partial=(
            "model.visual.blocks.1.attn.proj",
            "model.language_model.layers.2.self_attn.[vo]_proj",
        ),
        ends=("down_proj",),
        ends_groups=("tower-mlp", "merger", "language-model"),
    )
    vllm = VllmClass(module="glm4_1v", name="Glm4vForConditionalGeneration")
    processor_class = "Glm4vProcessor"
    vision_widths: ClassVar[Mapping[str, Any]] = {
        "depth": miniature.DEPTH,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_heads": 4,
        "out_hidden_size": miniature.TEXT_HIDDEN,
    }
    areas: ClassVar[Mapping[str, int]] = {"shortest_edge": 12544, "longest_edge": 9633792}
    video_areas: ClassVar[Mapping[str, int] | None] = {
        "shortest_edge": 12544,
        "longest_edge": 47040000,
    }
    copies = 2
    marked_frames = True
    special_tokens = (
        *("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"),
        *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        *("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
        *("<|image|>", "<|video|>"),
    )
    predictors = (tower_qkv.IGNORED,)
    predicted_roles = (TOWER, LANGUAGE)
    later = "tower-down_proj"
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "visual.patch_embed.proj": TOWER,
        "visual.downsample": TOWER,
        "visual.blocks.23.attn.qkv": TOWER,
        "visual.blocks.7.attn.proj": TOWER,
        "visual.blocks.0.mlp.gate_up_proj": TOWER,
        "visual.blocks.0.mlp.down_proj": TOWER,
        "visual.merger.proj": CONNECTOR,
        "visual.merger.gate_up_proj": CONNECTOR,
        "visual.merger.down_proj": CONNECTOR,
        "language_model.model.layers.39.self_attn.o_proj": LANGUAGE,
    }
    known_flows = measured("glm-4.1v")

    def role_of_path(self, path: str) -> str | None:
        """Gate and up of tower and merger too: one layer in vLLM, which no adapter reaches."""
        if path.startswith("visual.merger."):
            return CONNECTOR
        return TOWER if path.startswith("visual.blocks.") else super().role_of_path(path)

    def describe(self, layout: Layout) -> Sequence[str]:
        """The limits are of both copies of a picture."""
        sizes, row = super().describe(layout)
        return (f"{sizes} of {layout.copies} copies of a picture", row)

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """Biases and the rotated half of each head as published."""
        ids = {
            "eos_token_id": "<|endoftext|>",
            "pad_token_id": "<|endoftext|>",
            "image_start_token_id": "<|begin_of_image|>",
            "image_end_token_id": "<|end_of_image|>",
            "video_start_token_id": "<|begin_of_video|>",
            "video_end_token_id": "<|end_of_video|>",
            "image_token_id": "<|image|>",
            "video_token_id": "<|video|>",
        }
        small = miniature.miniature_config(config, self.vision_widths, self.special_tokens, ids)
        small["text_config"].pop("max_window_layers")
        return small

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """Areas by the newer names, and a processor of videos with others."""
        ends = ("<|user|>", "<|endoftext|>")
        files = miniature.side_files(layout, self.processor_class, self.special_tokens, ends)
        pictures = files["preprocessor_config.json"]
        shared = {key: value for key, value in pictures.items() if not key.endswith("_pixels")}
        for name, kind, least, most in (
            ("preprocessor_config.json", "image", layout.min_pixels, layout.max_pixels),
            (VIDEO_NAME, "video", layout.video_min_pixels, layout.video_max_pixels),
        ):
            named = {key: value for key, value in shared.items() if key != "image_processor_type"}
            named[f"{kind}_processor_type"] = f"Glm4v{kind.title()}Processor"
            files[name] = {**named, "size": {"shortest_edge": least, "longest_edge": most}}
        return files

    def predicted_coverage(self, found: Sequence[Any]) -> tuple[str, ...]:
        """The fused projection of the tower has no layer, and nothing else is amiss."""
        return tower_qkv.explains(found)


FAMILY = Glm41V()
