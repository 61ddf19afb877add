"""Asks transformers' processor about the media of a family's models, and judges its counts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mm_lora.checks.compare_counts import processor_mismatches
from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Video
from mm_lora.families import sounds, videos
from mm_lora.families.models import Model
from mm_lora.families.pictures import Picture
from mm_lora.truth.build import processor_files

JOB = "processor-counts"


def prompts(model: Model) -> tuple[Sequence[Picture | sounds.Clip | videos.Clip], ...]:
    """The family's questions, and each picture of the token-flow table that none asks alone."""
    questions = tuple(model.family.questions(model.layout))
    sizes = model.family.sizes
    asked = {prompt[0].seen_size for prompt in questions if len(prompt) == 1}
    missing = dict.fromkeys(s for s in (sizes.one, sizes.few, sizes.many) if s not in asked)
    return (*questions, *((sizes.question(size),) for size in missing))


def clips(model: Model) -> Sequence[Video]:
    """The family's videos, the one that the checks on a server send among them."""
    family = model.family
    own = (family.sizes.video(),) if "video" in family.media else ()
    return tuple(dict.fromkeys((*family.clips(model.layout), *own)))


def arguments(models: Mapping[str, Model]) -> dict[str, Any]:
    """The worker job's arguments; `models` are of one family."""
    family = next(iter(models.values())).family
    return {
        "side": family.torch_side,
        "models": [
            {
                "name": name,
                "layout": asdict(model.layout),
                **processor_files(model),
                "prompts": [[asdict(picture) for picture in prompt] for prompt in prompts(model)],
                "clips": [{"name": clip.label, **asdict(clip)} for clip in clips(model)],
            }
            for name, model in models.items()
        ],
    }


def alone(answer: Mapping[str, Any], model: Model) -> dict[tuple[int, int], Mapping[str, Any]]:
    """The processor's counts of each picture of a model that was asked alone, by its size."""
    (answered,) = (one["prompts"] for one in answer["models"] if one["name"] == model.name)
    return {
        prompt[0].seen_size: counts[0]
        for prompt, counts in zip(prompts(model), answered, strict=True)
        if len(prompt) == 1
    }


def mismatches(answer: Mapping[str, Any], models: Mapping[str, Model]) -> dict[str, list[Mismatch]]:
    """Per model, where the processor's answer differs from our arithmetic."""
    by_name: dict[str, Sequence[Sequence[Mapping[str, Any]]]] = {
        model["name"]: model["prompts"] for model in answer["models"]
    }
    found: dict[str, list[Mismatch]] = {}
    for name, model in models.items():
        asked, answered = prompts(model), by_name.get(name, ())
        found[name] = []
        if len(asked) != len(answered):
            found[name].append(Mismatch(name, "prompts", len(asked), len(answered)))
        for prompt, counts in zip(asked, answered, strict=False):
            flows = [model.family.flow(model.layout, picture.asked) for picture in prompt]
            found[name] += processor_mismatches(flows, counts, where=name)
    return found


def clip_mismatches(
    answer: Mapping[str, Any], models: Mapping[str, Model]
) -> dict[str, list[Mismatch]]:
    """The same of the videos."""
    by_name = {model["name"]: model["clips"] for model in answer["models"]}
    return {
        name: processor_mismatches(
            [model.family.flow(model.layout, clip) for clip in clips(model)],
            by_name.get(name, ()),
            where=name,
        )
        for name, model in models.items()
    }
