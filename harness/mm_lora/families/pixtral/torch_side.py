"""Pixtral on the torch side: transformers' LLaVA, weights in Mistral's format, its tokenizer."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.counting import as_loaded
from mm_lora.families.llava_pixtral.torch_side import LlavaPixtralSide
from mm_lora.families.miniature import HEAD_DIM, VISION
from mm_lora.families.pixtral.family import FAMILY, HALVES, Pixtral
from mm_lora.families.pixtral.layout import TEKKEN
from mm_lora.families.renaming import content_of
from mm_lora.families.torch_side import Deltas, importable
from mm_lora.families.vocabulary import answer_ids

_PARTS = (
    ("lm_head.", "output."),
    ("model.language_model.embed_tokens.", "tok_embeddings."),
    ("model.language_model.", ""),
    ("model.vision_tower.", "vision_encoder."),
    ("model.multi_modal_projector.linear_1.", "vision_language_adapter.w_in."),
    ("model.multi_modal_projector.linear_2.", "vision_language_adapter.w_out."),
    ("model.multi_modal_projector.norm.", "pre_mm_projector_norm."),
    ("model.multi_modal_projector.", ""),
)
_LAYER = (
    *(
        (f".{parent}.{p}_proj.", f".attention.w{p}.")
        for parent in ("self_attn", "attention")
        for p in "qkvo"
    ),
    *(
        (f".{parent}.{p}_proj.", f".feed_forward.w{n}.")
        for parent in ("mlp", "feed_forward")
        for p, n in (("gate", 1), ("down", 2), ("up", 3))
    ),
    (".input_layernorm.", ".attention_norm."),
    (".post_attention_layernorm.", ".ffn_norm."),
)
_TOWER_QK = re.compile(r"\.vision_tower\..*\.[qk]_proj(\.weight)?$")
_TEXT = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "head_dim": "head_dim",
    "hidden_dim": "intermediate_size",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "norm_eps": "rms_norm_eps",
    "vocab_size": "vocab_size",
    "rope_theta": "rope_theta",
    "max_position_embeddings": "max_position_embeddings",
}
_VISION = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_channels", "image_size", "patch_size", "rope_theta"),
)


def paired(rows: Any, heads: int) -> Any:
    """Rows of q or k, [out, in], whose rotations lie in halves of each head, as neighbours."""
    return rows.view(heads, 2, -1, rows.shape[-1]).transpose(1, 2).reshape(rows.shape)


def halved(rows: Any, heads: int) -> Any:
    """The other way round."""
    return rows.view(heads, -1, 2, rows.shape[-1]).transpose(1, 2).reshape(rows.shape)


def halves_not_paired(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """What a server computes that adds an adapter in transformers' order to the tower's weights in
    Mistral's."""
    heads = model.config.vision_config.num_attention_heads
    return {
        path: halved(delta, heads) if _TOWER_QK.search(path) else delta
        for path, delta in deltas.items()
    }


class PixtralSide(LlavaPixtralSide):
    """transformers' LlavaForConditionalGeneration; pictures and words by mistral-common."""

    family: ClassVar[Pixtral] = FAMILY
    weights_file = "consolidated.safetensors"
    mistakes: ClassVar[Mapping[str, Any]] = {HALVES: halves_not_paired}
    head_dims: ClassVar[tuple[int, int]] = (
        HEAD_DIM,
        VISION["hidden_size"] // VISION["num_attention_heads"],
    )
    """Of the miniature: of the language model, of the tower."""

    def config(self, content: Mapping[str, Any]) -> Any:
        """transformers' config object, of params.json's content."""
        from transformers import LlavaConfig

        return LlavaConfig(
            **self.parts(content),
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            multimodal_projector_bias=content["params"]["vision_encoder"].get("adapter_bias", True),
        )

    def parts(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Its language model, its tower, and what both kinds of config say."""
        params = content["params"]
        vision = params["vision_encoder"]
        text = {ours: params[key] for key, ours in _TEXT.items() if key in params}
        return {
            "text_config": {"model_type": "mistral", "sliding_window": None, **text},
            "vision_config": {
                "model_type": "pixtral",
                "hidden_act": "silu",
                **{key: vision[key] for key in _VISION if key in vision},
            },
            "image_token_index": vision["image_token_id"],
            "projector_hidden_act": "gelu",
            "tie_word_embeddings": False,
        }

    def answers(self) -> Sequence[int]:
        """Special tokens come before the others."""
        return [len(self.family.special_tokens) + one for one in answer_ids()]

    def weight_names(self, name: str) -> str:
        """As Mistral calls it."""
        for own, theirs in _PARTS:
            if name.startswith(own):
                name = theirs + name.removeprefix(own)
                break
        for own, theirs in _LAYER:
            name = name.replace(own, theirs)
        return name

    def stored(self, name: str, tensor: Any) -> Any:
        """What is rotated together lies side by side in q and k of tower and language model."""
        heads = self._heads(name, tensor)
        return paired(tensor, heads).contiguous() if heads else tensor

    def _heads(self, name: str, tensor: Any) -> int:
        """Heads of a q or a k, 0 of any other weight."""
        if not name.endswith(("q_proj.weight", "k_proj.weight")):
            return 0
        return int(tensor.shape[0]) // self.head_dims["vision_tower" in name]

    def load(self, checkpoint: str) -> Any:
        """From Mistral's names and order."""
        importable()
        import torch
        import transformers
        from transformers.modeling_utils import load_state_dict

        auto: Any = transformers.AutoModelForImageTextToText
        model = auto.from_config(
            self.config(content_of(checkpoint)), dtype=torch.float32, attn_implementation="eager"
        )
        stored = load_state_dict(str(Path(checkpoint, self.weights_file)))
        weights = {}
        for name in model.state_dict():
            tensor = stored[self.weight_names(name)]
            heads = self._heads(name, tensor)
            weights[name] = halved(tensor, heads) if heads else tensor
        model.load_state_dict(weights)
        model.eval()
        return model

    def processor(self, checkpoint: str) -> Any:
        """mistral-common's tokenizer, which makes the pixels too."""
        from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

        return MistralTokenizer.from_file(str(Path(checkpoint, TEKKEN)))

    def inputs(self, processor: Any, text: str, media: Sequence[Mapping[str, Any]]) -> Any:
        """A chat prompt by mistral-common; pictures are filled up to one size, which the tower is
        told of."""
        from PIL import Image

        pictures = [Image.open(io.BytesIO(one["files"][0])).convert("RGB") for one in media]
        encoded = _encoded(processor, pictures, text)
        import torch

        inputs: dict[str, Any] = {"input_ids": torch.tensor([encoded.tokens])}
        if pictures:
            shapes = [one.shape for one in encoded.images]
            high, wide = (max(shape[axis] for shape in shapes) for axis in (1, 2))
            pixels = torch.zeros(len(shapes), 3, high, wide)
            for place, one in enumerate(encoded.images):
                pixels[place, :, : one.shape[1], : one.shape[2]] = torch.tensor(one)
            inputs["pixel_values"] = pixels
            inputs["image_sizes"] = torch.tensor([shape[1:] for shape in shapes])
        return inputs

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """By mistral-common: the tokens up to each [IMG_END], and the pixels."""
        encoded = _encoded(processor, [as_loaded(picture) for picture in prompt], "")
        tokenizer = processor.instruct_tokenizer.tokenizer
        config = processor.instruct_tokenizer.image_encoder.image_config
        names = [tokenizer.id_to_piece(one) for one in encoded.tokens]
        first = names.index("[IMG]")
        counted = []
        for picture, pixels in zip(prompt, encoded.images, strict=True):
            last = names.index("[IMG_END]", first)
            grid = [side // config.image_patch_size for side in pixels.shape[1:]]
            counted.append(
                {
                    "name": picture["name"],
                    **dict(zip(("grid_height", "grid_width"), grid, strict=True)),
                    "image_tokens": names[first : last + 1].count("[IMG]"),
                    "prompt_tokens": last + 1 - first,
                }
            )
            first = last + 1
        return counted


def _encoded(tokenizer: Any, pictures: Sequence[Any], text: str) -> Any:
    """mistral-common's tokens and pixels of a user's turn."""
    from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
    from mistral_common.protocol.instruct.messages import UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    chunks: Any = [*(ImageChunk(image=one) for one in pictures), TextChunk(text=text)]
    request: Any = ChatCompletionRequest(messages=[UserMessage(content=chunks)])
    return tokenizer.encode_chat_completion(request)


SIDE = PixtralSide()
