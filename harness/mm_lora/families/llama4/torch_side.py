"""Llama 4 on the torch side: its head, experts, router ties, processor, and known mistakes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.counting import Spans, require_tiles
from mm_lora.families.llama4 import routing, sparse_experts
from mm_lora.families.llama4.family import FAMILY, QK_ROWS
from mm_lora.families.torch_side import Deltas, TorchSide

SHARED_EXPERT = ".shared_expert."


def qk_rows_not_permuted(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """What a server computes that permutes the rows of q and k on load, but not those of B.

    vLLM stores row (head, i, j) of q and k at (head, j, i), i < head_dim/2, j < 2; a B that is not
    permuted too lands on other rows. A predictor of a wrong value (known_defects.toml).
    """
    text = model.config.text_config
    heads = {"q_proj": text.num_attention_heads, "k_proj": text.num_key_value_heads}
    wrong = dict(deltas)
    for path, delta in deltas.items():
        count = heads.get(path.rpartition(".")[2])
        if count and path.startswith("language_model."):
            rows, columns = delta.shape
            split = delta.view(count, 2, rows // count // 2, columns)
            wrong[path] = split.transpose(1, 2).reshape(rows, columns)
    return wrong


def without_shared_expert(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """vLLM before 0.20 clears these layers right after it has filled them."""
    return {path: delta for path, delta in deltas.items() if SHARED_EXPERT not in path}


class Llama4Side(TorchSide):
    """transformers' Llama4ForConditionalGeneration."""

    family = FAMILY
    head = "language_model.lm_head.weight"
    markers = ("<|image_start|>", "<|image_end|>")
    # No Linear: one parameter for all experts. Listed since vLLM has LoRA layers for experts.
    other_modules = ("Llama4TextExperts",)
    mistakes: ClassVar[Mapping[str, Any]] = {
        QK_ROWS: qk_rows_not_permuted,
        "shared-expert-without-adapter": without_shared_expert,
    }

    def prepare(self, model: Any) -> None:
        """Experts skip the rows that are zero."""
        sparse_experts.skip_zero_rows(model)

    def with_ties(
        self, model: Any, compute: Callable[[], list[float]]
    ) -> tuple[list[float], list[list[float]]]:
        """Top-1 routing is not continuous: see `routing`."""
        return routing.with_ties(model, compute)

    def counting(self, folder: Path, layout: Mapping[str, Any]) -> Any:
        """With an image processor that keeps the tiling which the processor throws away."""
        import transformers
        from transformers.models.llama4.processing_llama4 import Llama4Processor

        size = {"height": layout["image_size"], "width": layout["image_size"]}
        image_processor = _recording()(size=size, max_patches=layout["max_chunks"])
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return Llama4Processor(
            image_processor=image_processor,
            tokenizer=tokenizer,
            patch_size=layout["patch_size"],
            pixel_shuffle_ratio=layout["pixel_shuffle_ratio"],
        )

    def picture_tokens(self, processor: Any) -> tuple[str, str]:
        """Two tokens."""
        return processor.fake_image_token, processor.img_patch_token

    def seen(
        self, processor: Any, outcome: Any, spans: Spans, pictures: Sequence[Any]
    ) -> Sequence[Mapping[str, int]]:
        """The tilings that the image processor kept, and the chunks that they are."""
        tilings = [tuple(int(n) for n in pair) for pair in processor.image_processor.tilings]
        chunks = [1 if rows * columns == 1 else rows * columns + 1 for rows, columns in tilings]
        require_tiles(chunks, outcome["pixel_values"].shape[0])
        return [
            {"tile_rows": rows, "tile_columns": columns, "chunks": count}
            for (rows, columns), count in zip(tilings, chunks, strict=True)
        ]


def _recording() -> type[Any]:
    """The real image processor, keeping its tiling."""
    from transformers.models import llama4

    # transformers 4 has the same class as `…Fast`.
    names = ("Llama4ImageProcessor", "Llama4ImageProcessorFast")
    base: Any = next(getattr(llama4, name) for name in names if hasattr(llama4, name))

    class Recording(base):  # type: ignore[misc]
        def preprocess(self, *arguments: Any, **options: Any) -> Any:
            outcome = super().preprocess(*arguments, **options)
            self.tilings = list(outcome["aspect_ratios"])
            return outcome

    return Recording


SIDE = Llama4Side()
