"""Mistral Small 3.1: Pixtral's class and format, with two by two patches merged."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mm_lora.families.flow import known
from mm_lora.families.modules import CONNECTOR, ModuleGroup
from mm_lora.families.pixtral.family import HALVES, Pixtral

MERGER_IGNORED = "patch-merger-ignored"
_MERGING = "patch_merger.merging_layer"

GROUPS = {
    **Pixtral.groups,
    "patch-merger": ModuleGroup(
        name="patch-merger",
        pattern=r"model\.multi_modal_projector\.patch_merger\.merging_layer",
        role=CONNECTOR,
        rows="connector",
        target=f"model.multi_modal_projector.{_MERGING}",
    ),
}


class MistralSmall(Pixtral):
    """A norm and a layer over four patches stand before the projector, which has no biases."""

    name = "mistral-small"
    title = "Mistral Small 3.1"
    model_types = ("pixtral_patch_merge",)
    published = ("mistral-small-3.1",)
    state_reason = (
        "vLLM ignores adapters of the layer that merges patches, and gives those of the tower's q "
        "and k to the wrong rows of each head; with the fixes its core passes"
    )
    merges = True
    tekken_version = "v7"
    groups = GROUPS
    prefixes: ClassVar[tuple[tuple[str, str], ...]] = (
        (f"model.multi_modal_projector.{_MERGING}", _MERGING),
        *Pixtral.prefixes,
    )
    predictors = (HALVES, MERGER_IGNORED)
    predicted_roles = (*Pixtral.predicted_roles, CONNECTOR)
    prefix_cases: ClassVar[Mapping[str, str]] = {**Pixtral.prefix_cases, _MERGING: CONNECTOR}
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "connector rows · spatial_merge_size²",
        "connector": "⌈h / u⌉ · ⌈w / u⌉, u = patch_size · spatial_merge_size, of the picture, "
        "whose longer side is at most max_image_size",
    }
    known_flows = known(
        "mistral-small-3.1",
        (1540, 1540),
        "the published numbers: 1540 pixels a side at most, patches of 14, two by two merged",
        image_tokens=55 * 55,
        prompt_tokens=55 * 56,
    )

    def predicted_coverage(self, found: Sequence[Any]) -> tuple[str, ...]:
        """`patch-merger-ignored`: no layer uses the tensors of the patch merger, and nothing else
        is wrong but their number."""
        tensors = [one for one in found if one.what == "layers that use it"]
        ignored = all("merging_layer" in one.where and one.observed == "none" for one in tensors)
        counted = all(one.what.endswith("per group") for one in found if one not in tensors)
        return (MERGER_IGNORED,) if tensors and ignored and counted else ()


FAMILY = MistralSmall()
