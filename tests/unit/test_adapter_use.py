"""Every tensor used by exactly one layer; ignored, doubly used and unasked ones are named."""

from mm_lora.adapters.keys import key_of, parted
from mm_lora.checks.adapter_use import tensor_use
from mm_lora.serving.probe_records import AdapterUse

BOTH = ("lora_A", "lora_B")
ATTENTION = "vision_model.model.layers.0.self_attn"
KEYS = [
    f"base_model.model.{path}.{side}.weight"
    for path in (f"{ATTENTION}.q_proj", f"{ATTENTION}.o_proj")
    for side in BOTH
]
KEPT: dict[str, tuple[str, ...]] = {f"{ATTENTION}.q_proj": BOTH, f"{ATTENTION}.o_proj": BOTH}
USED: dict[str, tuple[str | None, ...]] = {
    f"{ATTENTION}.qkv_proj": (f"{ATTENTION}.q_proj", None, None),
    f"{ATTENTION}.o_proj": (f"{ATTENTION}.o_proj",),
}


def use(
    kept: dict[str, tuple[str, ...]] = KEPT, used: dict[str, tuple[str | None, ...]] = USED
) -> AdapterUse:
    return AdapterUse("probe-1", 1, "dice", 0, kept, used)


def test_exact_use() -> None:
    found = tensor_use(KEYS, use())
    assert found.is_exact
    assert found.used[KEYS[0]] == (f"{ATTENTION}.qkv_proj",)


def test_a_layer_that_got_nothing_makes_its_tensors_ignored() -> None:
    found = tensor_use(KEYS, use(used={f"{ATTENTION}.qkv_proj": USED[f"{ATTENTION}.qkv_proj"]}))
    assert found.ignored == tuple(KEYS[2:])
    assert not found.is_exact


def test_a_tensor_that_vllm_did_not_keep_is_ignored() -> None:
    kept = {**KEPT, f"{ATTENTION}.o_proj": ("lora_A",)}
    assert tensor_use(KEYS, use(kept=kept)).ignored == (KEYS[3],)


def test_two_layers_with_the_same_tensor_are_a_mistake() -> None:
    found = tensor_use(KEYS, use(used={**USED, "elsewhere": (f"{ATTENTION}.o_proj",)}))
    assert found.used[KEYS[2]] == (f"{ATTENTION}.o_proj", "elsewhere")
    assert not found.is_exact


def test_what_was_never_in_the_file_is_named() -> None:
    found = tensor_use(KEYS[:2], use())
    assert found.unasked == (f"{ATTENTION}.o_proj",)
    assert not found.is_exact


def test_keys() -> None:
    assert parted(KEYS[0]) == (f"{ATTENTION}.q_proj", "lora_A")
    assert key_of(f"{ATTENTION}.q_proj", "lora_A") == KEYS[0]
    assert parted("base_model.model.score.weight") == ("score.weight", "")
