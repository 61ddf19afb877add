"""InternVL on the torch side: transformers' own model, its parts under the published names."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from mm_lora.families.internvl.family import FAMILY
from mm_lora.families.torch_side import NOTHING, TorchSide, as_loaded, framed, importable

SHARPER = 2.5
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


def renamed(module: Any, names: Mapping[str, str], **more: property) -> None:
    """Give children and parameters other names; the module's own code still finds them by the old
    ones. So PEFT, a checkpoint and transformers' code speak of one module, each in its names."""
    aliases = dict(more)
    for old, new in names.items():
        for table in (module._modules, module._parameters):
            if old in table:
                table[new] = table.pop(old)
        aliases[old] = property(attrgetter(new))
    kind = type(module)
    module.__class__ = type(kind.__name__, (kind,), aliases)


def fused(attention: Any) -> None:
    """One Linear in the place of those of q, k and v, whose thirds are what each of them gives."""
    import torch

    q, _, _ = (attention._modules.pop(f"{name}_proj") for name in "qkv")
    attention.qkv = torch.nn.Linear(
        q.in_features,
        3 * q.out_features,
        bias=q.bias is not None,
        device=q.weight.device,
        dtype=q.weight.dtype,
    )
    parts = {f"{name}_proj": property(partial(_part, at=at)) for at, name in enumerate("qkv")}
    renamed(attention, {"projection_layer": "proj"}, **parts)


def _part(attention: Any, at: int) -> Any:
    """What gives q, k or v of rows; the layer is looked up anew, since PEFT replaces it."""
    return lambda rows: attention.qkv(rows).chunk(3, dim=-1)[at]


def as_published(native: Any) -> Any:
    """transformers' model with the names of the published checkpoints: it computes by `native`."""
    import torch

    vision = native.model.vision_tower
    renamed(vision.encoder, {"layer": "layers"})
    for layer in vision.encoder.layers:
        renamed(layer, _LAYER)
        fused(layer.attn)
    patches = vision.embeddings._modules.pop("patch_embeddings")
    vision.embeddings.patch_embedding = patches.projection
    renamed(vision.embeddings, _EMBEDDINGS, patch_embeddings=property(lambda self: patches))
    renamed(native.model.multi_modal_projector, _CONNECTOR)

    class InternVLChatModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = native.config
            self.vision_model = vision
            self.mlp1 = native.model.multi_modal_projector
            self.language_model = torch.nn.Module()
            self.language_model.model = native.model.language_model
            self.language_model.lm_head = native.lm_head

        def forward(self, **given: Any) -> Any:
            return native(**given)

    return InternVLChatModel()


class InternVlSide(TorchSide):
    """transformers' InternVLForConditionalGeneration, which is trained with other names."""

    family = FAMILY
    head = "language_model.lm_head.weight"

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

    def meta_model(self, config: Mapping[str, Any]) -> Any:
        """With the published names."""
        return as_published(super().meta_model(config))

    def load(self, checkpoint: str) -> Any:
        """From the published names, each of which must be there. The config does not say which
        token stands for a picture."""
        importable()
        import torch
        from transformers import AutoModelForImageTextToText
        from transformers.modeling_utils import load_state_dict

        auto: Any = AutoModelForImageTextToText
        config = self.config(_content(checkpoint))
        config.image_token_id = _tokenizer(checkpoint).context_image_token_id
        native = auto.from_config(config, dtype=torch.float32, attn_implementation="eager")
        model = as_published(native)
        weights: dict[str, Any] = {}
        for file in sorted(Path(checkpoint).glob("*.safetensors")):
            weights |= load_state_dict(str(file))
        model.load_state_dict(weights)
        native.eval()
        model.eval()
        return model

    def is_norm(self, name: str, shape: Sequence[int]) -> bool:
        """The connector's, and the scales of the tower's layers too."""
        return name.endswith((".ls1", ".ls2", "mlp1.0.weight")) or super().is_norm(name, shape)

    def fan_in(self, name: str, shape: Sequence[int]) -> int:
        """Embeddings that are added to others' are [1, rows, width]."""
        return 1 if name.endswith("_embedding") else super().fan_in(name, shape)

    def random_tensor(
        self, name: str, shape: tuple[int, ...], seed: int, tied: Mapping[str, str] = NOTHING
    ) -> Any:
        """Queries and keys of the tower are longer: hundreds of patches that look alike would have
        nearly equal weights, and an adapter there would move nothing."""
        values = super().random_tensor(name, shape, seed, tied)
        if name.endswith("attn.qkv.weight"):
            values[: 2 * shape[0] // 3] *= SHARPER
        return values

    def processor(self, checkpoint: str) -> Any:
        """transformers' own for this architecture, as the converted checkpoints have it; the
        published ones have none."""
        importable()
        import transformers

        content = _content(checkpoint)
        layout = self.family.layout(content, None)
        # transformers 4 calls its PIL class so without the ending.
        names = ("GotOcr2ImageProcessorPil", "GotOcr2ImageProcessor")
        images: Any = next(getattr(transformers, n) for n in names if hasattr(transformers, n))
        tokenizer = _tokenizer(checkpoint)
        image_processor = images(
            size={"height": layout.image_size, "width": layout.image_size},
            crop_to_patches=True,
            min_patches=layout.min_tiles,
            max_patches=layout.max_tiles,
            image_mean=_MEAN,
            image_std=_STD,
        )
        image_processor.crop_image_to_patches = partial(
            image_processor.crop_image_to_patches, use_thumbnail=layout.thumbnail
        )
        videos: Any = transformers.InternVLVideoProcessor
        return transformers.InternVLProcessor(
            image_processor=image_processor,
            tokenizer=tokenizer,
            video_processor=videos(),
            image_seq_length=layout.connector_rows,
            chat_template=tokenizer.chat_template,
        )

    def processed(self, processor: Any, prompt: str, media: Mapping[str, Any]) -> Any:
        """vLLM's processor takes `<image>` for a picture, transformers' the token itself."""
        prompt = prompt.replace("<image>", processor.image_token)
        return super().processed(processor, prompt, media)

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """From the token ids between the markers of each picture, and the number of all tiles."""
        from transformers.models.got_ocr2.image_processing_got_ocr2 import (
            get_optimal_tiled_canvas,
        )

        pictures = [as_loaded(picture) for picture in prompt]
        outcome = processor(
            text=processor.image_token * len(prompt),
            images=pictures,
            add_special_tokens=False,
            return_tensors="pt",
        )
        spans = framed(
            outcome["input_ids"][0].tolist(),
            processor.start_image_token_id,
            processor.end_image_token_id,
        )
        counts = [span.count(processor.image_token_id) for span in spans]
        tiles = [count // processor.image_seq_length for count in counts]
        if sum(tiles) != outcome["pixel_values"].shape[0]:
            raise RuntimeError(
                f"{len(prompt)} pictures became {tiles} tiles in the prompt and "
                f"{tuple(outcome['pixel_values'].shape)} pixels"
            )
        own = processor.image_processor
        side = (own.size["height"], own.size["width"])
        grids = [
            get_optimal_tiled_canvas(one.size[::-1], side, own.min_patches, own.max_patches)
            for one in pictures
        ]
        return [
            {
                "name": picture["name"],
                "tile_rows": rows,
                "tile_columns": columns,
                "tiles": tile,
                "image_tokens": count,
                "prompt_tokens": len(span),
            }
            for picture, (columns, rows), tile, count, span in zip(
                prompt, grids, tiles, counts, spans, strict=True
            )
        ]


def _content(checkpoint: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        Path(checkpoint, "config.json").read_text(encoding="utf-8")
    )
    return content


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
