"""The one question to transformers' processor: all pictures of all geometries; its judge."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mm_lora.checks.compare_counts import Mismatch, processor_mismatches
from mm_lora.families.llama4.geometry import Geometry
from mm_lora.families.llama4.pictures import Picture, every_chunk_count, pictures, prompts

JOB = "processor-counts"
Prompt = tuple[Picture, ...]


def asked_prompts(geometry: Geometry) -> list[Prompt]:
    """Every picture alone, then several in one prompt, then one picture for each chunk count."""
    alone = [*pictures(geometry), *every_chunk_count(geometry)]
    several = list(prompts(geometry))
    return [*((picture,) for picture in alone), *several]


def arguments(checkpoint: Path, geometries: Mapping[str, Geometry]) -> dict[str, Any]:
    """The worker job's arguments; `checkpoint` gives the tokenizer, any miniature's will do."""
    return {
        "checkpoint": str(checkpoint),
        "models": [
            {
                "name": name,
                "geometry": asdict(geometry),
                "prompts": [
                    [asdict(picture) for picture in prompt] for prompt in asked_prompts(geometry)
                ],
            }
            for name, geometry in geometries.items()
        ],
    }


def alone(
    answer: Mapping[str, Any], name: str, geometry: Geometry
) -> dict[tuple[int, int], Mapping[str, Any]]:
    """The processor's counts of each picture of model `name` that was asked alone, by its size."""
    (prompts,) = (model["prompts"] for model in answer["models"] if model["name"] == name)
    return {
        prompt[0].seen_size: counts[0]
        for prompt, counts in zip(asked_prompts(geometry), prompts, strict=True)
        if len(prompt) == 1
    }


def mismatches(
    answer: Mapping[str, Any], geometries: Mapping[str, Geometry]
) -> dict[str, list[Mismatch]]:
    """Per model, where the processor's answer differs from our arithmetic."""
    by_name: dict[str, Sequence[Sequence[Mapping[str, Any]]]] = {
        model["name"]: model["prompts"] for model in answer["models"]
    }
    found: dict[str, list[Mismatch]] = {}
    for name, geometry in geometries.items():
        asked, answered = asked_prompts(geometry), by_name.get(name, ())
        found[name] = []
        if len(asked) != len(answered):
            found[name].append(Mismatch(name, "prompts", len(asked), len(answered)))
        for prompt, counts in zip(asked, answered, strict=False):
            flows = [picture.flow(geometry) for picture in prompt]
            found[name] += processor_mismatches(flows, counts, where=name)
    return found
