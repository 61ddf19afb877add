"""Predictors that change a model while they compute, and leave it as it was."""

from types import SimpleNamespace
from typing import Any

import torch

from mm_lora.families.gemma4.torch_side import adapted_keys_not_values
from mm_lora.families.torch_side import importable
from mm_lora.families.ultravox.torch_side import filling_heard, joined
from mm_lora.inside.families.ultravox import behind


def layers(*values: Any) -> Any:
    found = []
    for value in values:
        attention = torch.nn.Module()
        attention.k_proj, attention.v_proj = torch.nn.Linear(2, 2), value
        found.append(SimpleNamespace(self_attn=attention))
    return SimpleNamespace(model=SimpleNamespace(language_model=SimpleNamespace(layers=found)))


def test_values_keep_the_weight_that_keys_had() -> None:
    own = torch.nn.Linear(2, 2)
    model = layers(own, None)
    one, shared = (layer.self_attn for layer in model.model.language_model.layers)
    before = shared.k_proj.weight.detach().clone()
    context = adapted_keys_not_values(model)
    assert context is not None
    with context:
        with torch.no_grad():
            shared.k_proj.weight += 1
        assert torch.equal(shared.v_proj.weight, before)
        assert one.v_proj is own
    assert shared.v_proj is None
    assert adapted_keys_not_values(layers(own)) is None


def sides() -> dict[str, Any]:
    importable()
    from transformers import LlamaConfig, WhisperConfig

    whole = {"stack_factor": 4, "hidden_size": 8, "projector_ln_mid": True}
    audio = WhisperConfig(
        d_model=8,
        num_mel_bins=4,
        max_source_positions=20,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=8,
    )
    text = LlamaConfig(
        hidden_size=8,
        intermediate_size=8,
        num_attention_heads=2,
        num_hidden_layers=1,
        vocab_size=16,
    )
    return {"whole": whole, "audio": audio, "text": text}


def test_filling_is_heard_where_a_row_is_not_full() -> None:
    torch.manual_seed(0)
    model = joined(sides()).eval()
    features = torch.zeros(4, 40)
    features[:, :26] = torch.randn(4, 26)
    with torch.inference_mode():
        for frames, same in ((16, True), (26, False)):
            rows = -(-frames // 8)
            shown = features.clone()
            shown[:, frames:] = 0
            right = model.heard(shown, frames)[:rows]
            with filling_heard(model):
                wrong = model.heard(shown, frames)[:rows]
            assert torch.allclose(right[:-1], wrong[:-1], atol=1e-5)
            assert torch.allclose(right, wrong, atol=1e-5) is same
            assert torch.equal(right, model.heard(shown, frames)[:rows])


def test_what_is_behind_the_end_of_each_chunk_is_zero() -> None:
    states = torch.ones(2, 4, 3)
    along = behind(states, torch.tensor([2, 4]), 1)
    assert along.sum(2).tolist() == [[3, 3, 0, 0], [3, 3, 3, 3]]
    across = behind(states, torch.tensor([1, 3]), 2)
    assert across[0, 0].tolist() == [1, 0, 0]
    assert across[1].sum().item() == 12
