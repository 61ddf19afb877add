"""InternVL on the torch side: transformers' own model, its parts under the published names."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mm_lora.families.counting import Spans, require_tiles
from mm_lora.families.internvl.family import FAMILY
from mm_lora.families.renaming import RenamedSide, content_of, fused, renamed
from mm_lora.families.torch_side import importable

_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<|video_pad|>",
}
_VISION = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("image_size", "patch_size", "num_channels", "hidden_act", "norm_type", "layer_norm_eps"),
)
_VISION_RENAMED = {"qkv_bias": "attention_bias", "qk_normalization": "use_qk_norm"}

_LAYER = {
    "attention": "attn",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "lambda_1": "ls1",
    "lambda_2": "ls2",
}
_EMBEDDINGS = {"cls_token": "class_embedding", "position_embeddings": "position_embedding"}
_CONNECTOR = {"layer_norm": "0", "linear_1": "1", "linear_2": "3"}


class InternVlSide(RenamedSide):
    """transformers' InternVLForConditionalGeneration, which is trained with other names."""

    family = FAMILY
    head = "language_model.lm_head.weight"
    sharp = r"attn\.qkv\.weight$"
    markers = (_TOKENS["start_image_token"], _TOKENS["end_image_token"])

    def config(self, content: Mapping[str, Any]) -> Any:
        """transformers' config object, of a published config's content."""
        from transformers import InternVLConfig

        vision = content["vision_config"]
        own = {key: vision[key] for key in _VISION if key in vision}
        own |= {ours: vision[key] for key, ours in _VISION_RENAMED.items() if key in vision}
        return InternVLConfig(
            vision_config=own,
            text_config=dict(content["llm_config"]),
            downsample_ratio=content["downsample_ratio"],
            tie_word_embeddings=False,
        )

    def config_for(self, checkpoint: str) -> Any:
        """The published config does not say which token stands for a picture."""
        config = super().config_for(checkpoint)
        config.image_token_id = _tokenizer(checkpoint).context_image_token_id
        return config

    def as_published(self, native: Any) -> Any:
        """q, k and v of a layer are one there, and the patches a layer of the embeddings."""
        import torch

        vision, projector = native.model.vision_tower, native.model.multi_modal_projector
        renamed(vision.encoder, {"layer": "layers"})
        for layer in vision.encoder.layers:
            renamed(layer, _LAYER)
            fused(layer.attn, ("q_proj", "k_proj", "v_proj"), "qkv")
            renamed(layer.attn, {"projection_layer": "proj"})
        patches = vision.embeddings._modules.pop("patch_embeddings")
        vision.embeddings.patch_embedding = patches.projection
        renamed(vision.embeddings, _EMBEDDINGS, patch_embeddings=property(lambda _: patches))
        renamed(projector, _CONNECTOR)
        model: Any = torch.nn.Module()
        model.config, model.forward = native.config, native.forward
        model.vision_model, model.mlp1 = vision, projector
        model.language_model = torch.nn.Module()
        model.language_model.model = native.model.language_model
        model.language_model.lm_head = native.lm_head
        return model

    def is_norm(self, name: str, shape: Sequence[int]) -> bool:
        """The connector's, and the scales of the tower's layers too."""
        return name.endswith((".ls1", ".ls2", "mlp1.0.weight")) or super().is_norm(name, shape)

    def fan_in(self, name: str, shape: Sequence[int]) -> int:
        """Embeddings that are added to others' are [1, rows, width]."""
        return 1 if name.endswith("_embedding") else super().fan_in(name, shape)

    def processor(self, checkpoint: str) -> Any:
        """transformers' own for this architecture, as the converted checkpoints have it; the
        published ones have none."""
        importable()
        import transformers

        layout = self.family.layout(content_of(checkpoint), None)
        # transformers 4 calls its PIL class so without the ending.
        names = ("GotOcr2ImageProcessorPil", "GotOcr2ImageProcessor")
        kind: Any = next(getattr(transformers, n) for n in names if hasattr(transformers, n))
        pictures = kind(
            size={"height": layout.image_size, "width": layout.image_size},
            crop_to_patches=True,
            min_patches=layout.min_tiles,
            max_patches=layout.max_tiles,
            image_mean=_MEAN,
            image_std=_STD,
        )
        cut = pictures.crop_image_to_patches
        pictures.crop_image_to_patches = partial(cut, use_thumbnail=layout.thumbnail)
        videos: Any = transformers.InternVLVideoProcessor
        tokenizer = _tokenizer(checkpoint)
        return transformers.InternVLProcessor(
            image_processor=pictures,
            tokenizer=tokenizer,
            video_processor=videos(),
            image_seq_length=layout.connector_rows,
            chat_template=tokenizer.chat_template,
        )

    def processed(self, processor: Any, prompt: str, media: Mapping[str, Any]) -> Any:
        """vLLM's processor takes `<image>` for a picture, transformers' the token itself."""
        prompt = prompt.replace("<image>", processor.image_token)
        return super().processed(processor, prompt, media)

    def seen(
        self, processor: Any, outcome: Any, spans: Spans, pictures: Sequence[Any]
    ) -> Sequence[Mapping[str, int]]:
        """The grid that the processor chooses for each picture; tiles by its tokens."""
        from transformers.models.got_ocr2.image_processing_got_ocr2 import (
            get_optimal_tiled_canvas,
        )

        tiles = [span.count(processor.image_token) // processor.image_seq_length for span in spans]
        require_tiles(tiles, len(outcome["pixel_values"]))
        own = processor.image_processor
        limits = ((own.size["height"], own.size["width"]), own.min_patches, own.max_patches)
        grids = [get_optimal_tiled_canvas(one.size[::-1], *limits) for one in pictures]
        return [
            {"tile_rows": rows, "tile_columns": columns, "tiles": count}
            for (columns, rows), count in zip(grids, tiles, strict=True)
        ]


def _tokenizer(checkpoint: str) -> Any:
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    return auto.from_pretrained(
        checkpoint,
        local_files_only=True,
        trust_remote_code=False,  # asks on the terminal otherwise
        extra_special_tokens=_TOKENS,
    )


SIDE = InternVlSide()
