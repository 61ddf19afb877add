"""LLaVA on the torch side: layers that never run, names in files, what the processor counts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mm_lora.families.llava.family import FAMILY
from mm_lora.families.llava.miniature import PAD, layers_run
from mm_lora.families.llava.shared import LlavaFamily
from mm_lora.families.llava.towers import FILES, OWN
from mm_lora.families.torch_side import NOTHING, TorchSide, as_loaded, between

SHARPER = 2.5


class LlavaSide(TorchSide):
    """transformers' LlavaForConditionalGeneration."""

    family: ClassVar[LlavaFamily] = FAMILY
    sharper: ClassVar[float] = SHARPER

    def without_idle(self, model: Any) -> Any:
        """Without the tower's layers after the one whose output the projector is given."""
        layers, feature = self.tower_layers(model), model.config.vision_feature_layer
        del layers[layers_run(feature, len(layers)) :]
        return model

    def tower_layers(self, model: Any) -> Any:
        """The tower's, a ModuleList."""
        return model.get_submodule("model.vision_tower.encoder.layers")

    def saved_names(self, name: str) -> str:
        """With the level that released checkpoints have."""
        return name if name.startswith(FILES) else name.replace(OWN, FILES, 1)

    def own_names(self, name: str) -> str:
        """Without that level."""
        return name.replace(FILES, OWN, 1)

    def random_tensor(
        self, name: str, shape: tuple[int, ...], seed: int, tied: Mapping[str, str] = NOTHING
    ) -> Any:
        """Queries and keys of the tower are longer: hundreds of patches that look alike would have
        nearly equal weights, and an adapter there would move nothing."""
        values = super().random_tensor(name, shape, seed, tied)
        sharp = ".vision_tower." in name and name.endswith(("q_proj.weight", "k_proj.weight"))
        return values * self.sharper if sharp else values

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """From the token ids between two placeholders, and the pixels."""
        tokenizer, token = processor.tokenizer, processor.image_token
        outcome = processor(
            text=PAD.join([token] * len(prompt)),
            images=[as_loaded(picture) for picture in prompt],
            add_special_tokens=False,
            return_tensors="pt",
        )
        tokens = tokenizer.convert_ids_to_tokens(outcome["input_ids"][0].tolist())
        spans = between(tokens, PAD)
        seen = self.measured(processor, outcome)
        if not len(spans) == len(seen) == len(prompt):
            raise RuntimeError(f"{len(prompt)} pictures became {len(spans)} and {len(seen)}")
        return [
            {
                "name": picture["name"],
                **numbers,
                "image_tokens": span.count(token),
                "prompt_tokens": len(span),
            }
            for picture, numbers, span in zip(prompt, seen, spans, strict=True)
        ]

    def measured(self, processor: Any, outcome: Any) -> Sequence[dict[str, int]]:
        """What each picture's pixels show: its grid of patches."""
        pixels, patch = outcome["pixel_values"], processor.patch_size
        return [
            {"grid_height": int(height) // patch, "grid_width": int(width) // patch}
            for height, width in outcome.get("image_sizes", [pixels.shape[-2:]] * len(pixels))
        ]


SIDE = LlavaSide()
