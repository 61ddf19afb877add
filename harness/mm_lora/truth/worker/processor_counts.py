"""Worker job: what transformers' processors count in pictures and videos: an independent truth."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_lora.families.torch_side import write_files
from mm_lora.truth.worker.sides import side_of


def run(*, side: str, models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts for every prompt of every model of one family.

    `models`: [{"name", "layout": {…}, "config", "files", "chat_template",
    "prompts": [[{"name", "width", "height", "mode", "orientation"}]],
    "clips": [{"name", "width", "height", "frames"}]}].
    Answers {"transformers": version, "models": [{"name", "prompts": [[{"name", quantity: n}]],
    "clips": [{"name", quantity: n}]}]}, in the order of the question; quantities as in
    `Flow.as_json`.
    """
    from mm_lora.inside import torchvision_schemas

    torchvision_schemas.declare()
    import transformers

    family = side_of(side)
    answered = []
    for model in models:
        with tempfile.TemporaryDirectory(prefix="mm-lora-processor-") as folder:
            write_files(
                Path(folder),
                model["config"],
                model["files"],
                family.family.special_tokens,
                model["chat_template"],
            )
            processor = family.counting(Path(folder), model["layout"])
        prompts = [family.prompt_counts(processor, prompt) for prompt in model["prompts"]]
        clips = [family.video_counts(processor, clip) for clip in model["clips"]]
        answered.append({"name": model["name"], "prompts": prompts, "clips": clips})
    return {"transformers": transformers.__version__, "models": answered}
