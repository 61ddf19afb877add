"""Worker job: what transformers' own Llama 4 image processor and processor make of pictures.

One of the independent truths. Runs in the worker's process only: it imports torch.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ORIENTATION = 0x0112
"""The EXIF tag."""


def run(*, checkpoint: str, models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts for every prompt of every model; the tokenizer is that of the `checkpoint` folder.

    `models`: [{"name", "geometry": {image_size, patch_size, pixel_shuffle_ratio, max_chunks},
    "prompts": [[{"name", "width", "height", "mode", "orientation"}]]}].
    Answers {"transformers": version, "models": [{"name", "prompts": [[{"name", "tile_rows",
    "tile_columns", "chunks", "image_tokens", "prompt_tokens"}]]}]}, in the order of the question.
    """
    from mm_lora.inside import torchvision_schemas

    torchvision_schemas.declare()
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(Path(checkpoint), local_files_only=True)
    return {
        "transformers": transformers.__version__,
        "models": [
            {"name": model["name"], "prompts": _model_counts(tokenizer, model)} for model in models
        ],
    }


def _model_counts(tokenizer: Any, model: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    from transformers.models.llama4.processing_llama4 import Llama4Processor

    geometry = model["geometry"]
    recorder = _recording_image_processor()
    size = {"height": geometry["image_size"], "width": geometry["image_size"]}
    image_processor = recorder(size=size, max_patches=geometry["max_chunks"])
    processor = Llama4Processor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=geometry["patch_size"],
        pixel_shuffle_ratio=geometry["pixel_shuffle_ratio"],
    )
    return [_prompt_counts(processor, prompt) for prompt in model["prompts"]]


def _prompt_counts(processor: Any, prompt: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The counts of each picture of one prompt, from the pixels' shape and from the token ids."""
    outcome = processor(
        text=processor.fake_image_token * len(prompt),
        images=[_load(picture) for picture in prompt],
        add_special_tokens=False,
        return_tensors="pt",
    )
    tilings = [tuple(int(n) for n in pair) for pair in processor.image_processor.tilings]
    chunks = [1 if rows * columns == 1 else rows * columns + 1 for rows, columns in tilings]
    if sum(chunks) != outcome["pixel_values"].shape[0]:
        raise RuntimeError(
            f"the image processor cut {len(prompt)} pictures into {tilings} but returned "
            f"{outcome['pixel_values'].shape[0]} chunks"
        )
    spans = _spans(processor, outcome["input_ids"][0].tolist())
    if len(spans) != len(prompt):
        raise RuntimeError(f"{len(prompt)} pictures became {len(spans)} framed spans of tokens")
    patch = processor.tokenizer.convert_tokens_to_ids(processor.img_patch_token)
    return [
        {
            "name": picture["name"],
            "tile_rows": rows,
            "tile_columns": columns,
            "chunks": count,
            "image_tokens": span.count(patch),
            "prompt_tokens": len(span),
        }
        for picture, (rows, columns), count, span in zip(
            prompt, tilings, chunks, spans, strict=True
        )
    ]


def _spans(processor: Any, ids: list[int]) -> list[list[int]]:
    """The token ids of each picture, from its `<|image_start|>` to its `<|image_end|>`."""
    start, end = processor.tokenizer.convert_tokens_to_ids(
        [processor.start_of_img_token, processor.end_of_img_token]
    )
    starts = [i for i, token in enumerate(ids) if token == start]
    ends = [i for i, token in enumerate(ids) if token == end]
    return [ids[first : last + 1] for first, last in zip(starts, ends, strict=True)]


def _recording_image_processor() -> type[Any]:
    """The real image processor, keeping the tiling that the processor itself throws away."""
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


def _load(picture: Mapping[str, Any]) -> Any:
    """A picture as transformers loads a file: PNG with EXIF, read by its `load_image`."""
    from PIL import Image
    from transformers.image_utils import load_image

    image = Image.new(picture["mode"], (picture["width"], picture["height"]))
    exif = Image.Exif()
    exif[ORIENTATION] = picture["orientation"]
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif, compress_level=0)
    with Image.open(file) as stored:
        return load_image(stored)
