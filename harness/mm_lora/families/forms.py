"""What the PEFT configurations of a family's adapters speak of, from its groups."""

from collections.abc import Mapping, Sequence

from mm_lora.families.family import PeftForms
from mm_lora.families.modules import LANGUAGE, ModuleGroup


def peft_forms(
    groups: Mapping[str, ModuleGroup],
    *,
    ranks: Mapping[str, int],
    alphas: Mapping[str, float],
    ends: tuple[str, ...],
    ends_groups: tuple[str, ...],
    wide: Sequence[str] = (),
    partial: Sequence[str] = (),
    packed: Sequence[str] = (),
) -> PeftForms:
    """`PeftForms` of these groups.

    `wide`: names of groups or of projections; unless said, the wrapped groups of the vision side,
    v and down of the language model. `partial`: unless said, the second layer of the tower's
    attention, v and o of the language model's third. `packed`: names of projections; unless said, q
    and v of the tower, or of the language model where the tower has them in one module.
    """
    single = {name: glob for one in groups.values() for name, glob in one.projections.items()}
    globs = {name: one.target for name, one in groups.items()} | single
    vision = [n for n, one in groups.items() if one.role != LANGUAGE and not one.unwrapped]
    split = "tower" if "tower-q_proj" in single else "language"
    layers, _, _ = globs["language-model"].partition("*")
    return PeftForms(
        wide=tuple(
            globs[name] for name in wide or (*vision, "language-v_proj", "language-down_proj")
        ),
        ranks=ranks,
        alphas=alphas,
        partial=tuple(partial)
        or (
            globs["tower-attention"].replace("*", "1", 1),
            f"{layers}2.self_attn.[vo]_proj",
        ),
        part_of_packed=tuple(
            single[name] for name in packed or (f"{split}-q_proj", f"{split}-v_proj")
        ),
        ends=ends,
        ends_groups=ends_groups,
    )
