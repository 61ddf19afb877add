"""Qwen3-VL (dense) as a family."""

from collections.abc import Mapping
from typing import Any, ClassVar

from mm_lora.families.family import VllmClass
from mm_lora.families.flow import known
from mm_lora.families.image_processor import VIDEO_NAME
from mm_lora.families.miniature import HALF, HEAD_DIM
from mm_lora.families.modules import CONNECTOR, TOWER
from mm_lora.families.qwen.geometry import Layout
from mm_lora.families.qwen.miniature import DEPTH, TEXT_HIDDEN
from mm_lora.families.qwen.vision import QwenVision, forms, prefix_cases
from mm_lora.families.qwen3_vl.modules import GROUPS, MLP


class Qwen3VL(QwenVision):
    """A merger at the tower's end, and one after each of a few inner layers, whose output is added
    to the first layers of the language model."""

    name = "qwen3-vl"
    title = "Qwen3-VL"
    model_types = ("qwen3_vl",)
    published = ("qwen3-vl", "qwen3-vl-4b")
    repositories: ClassVar[Mapping[str, str]] = {
        "Qwen/Qwen3-VL-8B-Instruct": "qwen3-vl",
        "Qwen/Qwen3-VL-4B-Instruct": "qwen3-vl-4b",
    }
    groups = GROUPS
    forms = forms(GROUPS, MLP, ("tower-mlp", "merger", "deepstack-mergers"))
    vllm = VllmClass(module="qwen3_vl", name="Qwen3VLForConditionalGeneration")
    processor_class = "Qwen3VLProcessor"
    vision_widths: ClassVar[Mapping[str, Any]] = {
        "depth": DEPTH,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": TEXT_HIDDEN,
    }
    areas: ClassVar[Mapping[str, int]] = {"shortest_edge": 65536, "longest_edge": 16777216}
    video_areas: ClassVar[Mapping[str, int] | None] = {
        "shortest_edge": 4096,
        "longest_edge": 25165824,
    }
    marked_frames = True
    prefix_cases: ClassVar[Mapping[str, str]] = {
        **{path: role for path, role in prefix_cases(*MLP).items() if role != CONNECTOR},
        "visual.blocks.26.attn.qkv": TOWER,
        "visual.merger.linear_fc1": CONNECTOR,
        "visual.merger.linear_fc2": CONNECTOR,
        "visual.deepstack_merger_list.0.linear_fc1": CONNECTOR,
        "visual.deepstack_merger_list.2.linear_fc2": CONNECTOR,
    }
    known_flows = tuple(
        one
        for size, patches, merged in (
            ((336, 336), 400, 100),
            ((400, 300), 432, 108),
            ((700, 400), 1056, 264),
            ((1280, 960), 4800, 1200),
        )
        for one in known(
            "qwen3-vl",
            size,
            "rows inside a running vLLM 0.32.0",
            patch_rows=patches,
            merged_rows=merged,
        )
    )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """The levels of deepstack stay about where they are in the published depth."""
        small = super().miniature(config, layout)
        # The published configs state their own.
        small["text_config"]["head_dim"] = HEAD_DIM
        published = config["vision_config"]
        levels = published["deepstack_visual_indexes"]
        scaled = [level * DEPTH // published["depth"] for level in levels]
        apart = scaled if len(set(scaled)) == len(levels) else list(range(len(levels)))
        small["vision_config"]["deepstack_visual_indexes"] = apart
        return small

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """Other means than the older processors', and a processor of videos with other areas."""
        files = super().side_files(layout)
        pictures = files["preprocessor_config.json"]
        size = {
            "shortest_edge": pictures.pop("min_pixels"),
            "longest_edge": pictures.pop("max_pixels"),
        }
        pictures |= {"image_mean": HALF, "image_std": HALF, "size": size}
        shared = {key: pictures[key] for key in pictures if key != "image_processor_type"}
        files[VIDEO_NAME] = {
            **shared,
            "video_processor_type": "Qwen3VLVideoProcessor",
            "size": {
                "shortest_edge": layout.video_min_pixels,
                "longest_edge": layout.video_max_pixels,
            },
        }
        return files


FAMILY = Qwen3VL()
