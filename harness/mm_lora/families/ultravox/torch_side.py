"""Ultravox on the torch side: transformers' Whisper encoder and Llama, joined as the authors do.

No class of transformers is the whole model. Chunks are computed as long as they are: what fills one
up is not heard, and behind the last position there are zeros where it is stacked. That is what the
authors' own code makes of one sound of half a minute at most; of longer ones, and of several in one
call, it hears the filling too, each time another one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.torch_side import Deltas, TorchSide, importable
from mm_lora.families.ultravox.family import FAMILY, FILLING, MLP_IGNORED
from mm_lora.families.ultravox.layout import HALVED

_HEARD = ("audio_values", "audio_lens", "audio_token_len")


def mlp_ignored(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """What a server computes that knows the tower's fc1 and fc2 by another name alone."""
    return {path: delta for path, delta in deltas.items() if not path.endswith((".fc1", ".fc2"))}


def filling_heard(model: Any) -> AbstractContextManager[None]:
    """What a server computes that fills up each chunk: what it makes of the filling stands behind
    the last position, in the same row of the projector."""

    @contextmanager
    def meanwhile() -> Iterator[None]:
        model.filled = True
        try:
            yield
        finally:
            model.filled = False

    return meanwhile()


class UltravoxSide(TorchSide):
    """The parts' own classes, and a projector."""

    family = FAMILY
    head = "language_model.lm_head.weight"
    sharp = r"audio_tower\..*[qk]_proj\.weight$"
    mistakes: ClassVar[Mapping[str, Any]] = {MLP_IGNORED: mlp_ignored}
    base_mistakes: ClassVar[Mapping[str, Any]] = {FILLING: filling_heard}

    def config(self, content: Mapping[str, Any]) -> Any:
        """{"whole": the content, "audio", "text": transformers' config objects of the parts}."""
        from transformers import LlamaConfig, WhisperConfig

        return {
            "whole": dict(content),
            "audio": WhisperConfig(**content["audio_config"]),
            "text": LlamaConfig(**content["text_config"]),
        }

    def meta_model(self, config: Mapping[str, Any]) -> Any:
        """Without weights."""
        importable()
        import torch

        with torch.device("meta"):
            return joined(self.config(config))

    def is_norm(self, name: str, shape: Sequence[int]) -> bool:
        """The projector's too."""
        return name.endswith(("ln_pre.weight", "ln_mid.weight", "ln_post.weight")) or (
            super().is_norm(name, shape)
        )

    def fan_in(self, name: str, shape: Sequence[int]) -> int:
        """Convolutions are [out, in, 3]; positions are added to others' rows."""
        if ".conv" in name:
            return shape[1] * shape[2]
        return 1 if "embed_positions" in name else super().fan_in(name, shape)

    def load(self, checkpoint: str) -> Any:
        """From the names of the published checkpoints."""
        importable()
        import json

        from transformers.modeling_utils import load_state_dict

        content = json.loads(Path(checkpoint, "config.json").read_text(encoding="utf-8"))
        model = joined(self.config(content))
        model.load_state_dict(load_state_dict(str(Path(checkpoint, self.weights_file))))
        model.eval()
        return model

    def processor(self, checkpoint: str) -> Any:
        """The one beside the weights: our own code."""
        importable()
        from transformers import AutoProcessor

        processors: Any = AutoProcessor
        return processors.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=True)

    def processed(self, processor: Any, prompt: str, media: Mapping[str, Any]) -> Any:
        """Each placeholder repeated as often as its sound has rows."""
        sounds = list(media.get("audio") or ())
        made = dict(processor(text="", audios=sounds, sampling_rate=16000))
        text, *behind = prompt.split(processor.audio_token_replacement)
        counts = iter(made.get("audio_token_len", ()))
        for chunks, rest in zip(made.get("audio_num_chunks", ()), behind, strict=True):
            rows = sum(int(next(counts)) for _ in range(int(chunks)))
            text += processor.audio_token_replacement * rows + rest
        known = processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        return {
            "input_ids": known["input_ids"],
            **{key: made[key] for key in _HEARD if key in made},
        }

    def arguments(self, inputs: Any, length: int) -> dict[str, Any]:
        """Nothing has an entry for each token."""
        return {key: inputs[key] for key in _HEARD if key in inputs}

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """From the extractor's mask; chunks are cut by our own code."""
        import numpy as np

        counted = []
        for clip in prompt:
            silence = np.zeros(clip["samples"], dtype=np.float32)
            made = processor(audios=[silence], sampling_rate=clip["rate"])
            tokens = int(made["audio_token_len"].sum())
            counted.append(
                {
                    "name": clip["name"],
                    "frames": int(made["audio_lens"].sum()),
                    "chunks": len(made["audio_lens"]),
                    "image_tokens": tokens,
                    "prompt_tokens": tokens,
                }
            )
        return counted


def joined(parts: Mapping[str, Any]) -> Any:
    """The whole model, of `UltravoxSide.config`'s parts."""
    import torch
    from torch import nn
    from transformers import LlamaForCausalLM
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    llama: Any = LlamaForCausalLM
    whole, audio, text = (parts[key] for key in ("whole", "audio", "text"))
    audio._attn_implementation = text._attn_implementation = "eager"
    stack, width = whole["stack_factor"], whole["hidden_size"]
    wide = audio.d_model * stack
    middle = whole["projector_ln_mid"]

    class Projector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_pre = nn.RMSNorm(wide, eps=1e-6)
            self.linear_1 = nn.Linear(wide, width, bias=False)
            self.linear_2 = nn.Linear(width // 2, text.hidden_size, bias=False)
            if middle:
                self.ln_mid = nn.RMSNorm(width // 2, eps=1e-6)
            else:
                self.ln_post = nn.RMSNorm(text.hidden_size, eps=1e-6)

        def forward(self, positions: Any) -> Any:
            """[positions, width of the encoder] → [rows, width of the language model]."""
            more = -positions.shape[0] % stack
            stacked = nn.functional.pad(positions, (0, 0, 0, more)).reshape(-1, wide)
            value, gate = self.linear_1(self.ln_pre(stacked)).chunk(2, dim=-1)
            value = value * nn.functional.silu(gate)
            if middle:
                return self.linear_2(self.ln_mid(value))
            return self.ln_post(self.linear_2(value))

    class Ultravox(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = text
            self.audio_tower = WhisperEncoder(audio)
            self.multi_modal_projector = Projector()
            self.language_model = llama(text)
            self.filled = False

        def heard(self, features: Any, frames: int) -> Any:
            """Rows of one chunk, [mel bins, frames]. Where it is `filled`, what fills it up sees
            itself alone, and the sound does not see it."""
            tower = self.audio_tower
            shown = features[None] if self.filled else features[None, :, :frames]
            rows = nn.functional.gelu(tower.conv1(shown))
            rows = nn.functional.gelu(tower.conv2(rows)).transpose(1, 2)
            rows = rows + tower.embed_positions.weight[: rows.shape[1]]
            end = -(-frames // HALVED)
            parts = [part for part in (rows[:, :end], rows[:, end:]) if part.shape[1]]
            for layer in tower.layers:
                parts = [layer(part, None) for part in parts]
            rows = tower.layer_norm(torch.cat(parts, dim=1))
            return self.multi_modal_projector(rows[0])

        def forward(
            self,
            input_ids: Any,
            audio_values: Any = None,
            audio_lens: Any = None,
            audio_token_len: Any = None,
            **given: Any,
        ) -> Any:
            embedded = self.language_model.get_input_embeddings()(input_ids)
            if audio_values is not None:
                rows = torch.cat(
                    [
                        self.heard(one, int(frames))[: int(count)]
                        for one, frames, count in zip(
                            audio_values, audio_lens, audio_token_len, strict=True
                        )
                    ]
                )
                place = (input_ids == whole["audio_token_index"])[..., None]
                embedded = embedded.masked_scatter(place, rows)
            return self.language_model(inputs_embeds=embedded, **given)

    return Ultravox()


SIDE = UltravoxSide()
