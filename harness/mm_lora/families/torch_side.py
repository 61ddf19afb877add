"""`TorchSide`: the part of a family that needs torch, with defaults over the Auto classes.

Imported by the worker alone; torch and transformers are imported inside the methods, so that a
process that only names the class stays small.
"""

import hashlib
import io
import json
import math
import re
import wave
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Sound, Video
from mm_lora.core.images import frame_jpeg
from mm_lora.core.sounds import sound_wav
from mm_lora.families.counting import Counting
from mm_lora.families.family import Family
from mm_lora.families.vocabulary import answer_ids, tokenizer_json

GAIN = 0.8
"""Matrices are N(0, (GAIN/√fan_in)²): signals neither die out nor grow through the layers."""

BIAS = 0.05

NOTHING: Mapping[str, str] = {}

Deltas = Mapping[str, Any]
"""PEFT module path, as the adapter spells it → what it adds to that module's weight, [out, in]."""

BaseMistake = Callable[[Any], AbstractContextManager[None] | None]
"""model → a stretch in which it computes with that mistake; None where it cannot meet it."""

Mistake = Callable[[Any, Path, Deltas], Deltas]
"""(model, adapter folder, right deltas) → what a server with that mistake computes with."""


class TorchSide(Counting):
    """One family's. A subclass changes what its architecture needs."""

    family: ClassVar[Family]
    auto: ClassVar[str] = "AutoModelForImageTextToText"
    """transformers' Auto class that knows the model."""
    head: ClassVar[str] = "lm_head.weight"
    """The language model's head: zero but for the words, so that answers are made of words."""
    sharp: ClassVar[str] = ""
    """An expression of weights' names: queries and keys that are `sharper` times longer. Hundreds
    of patches that look alike would have nearly equal weights in the tower's attention, and an
    adapter there would move nothing."""
    sharper: ClassVar[float] = 2.5
    weights_file: ClassVar[str] = "model.safetensors"
    """Of the checkpoint."""
    other_modules: ClassVar[tuple[str, ...]] = ()
    """Classes that are no nn.Linear, but for which vLLM has LoRA layers."""
    mistakes: ClassVar[Mapping[str, Mistake]] = {}
    """Predictors of wrong values, by name as `signature` of known_defects.toml says it."""
    base_mistakes: ClassVar[Mapping[str, BaseMistake]] = {}
    """The same of mistakes with the model itself, whatever the adapter; of text alone, those that
    `Family.text_predictors` names."""

    # Building.

    def meta_model(self, config: Mapping[str, Any]) -> Any:
        """transformers' model of a config.json's content, on the meta device: no weights."""
        importable()
        import torch
        import transformers

        auto: Any = getattr(transformers, self.auto)
        with torch.device("meta"):
            return auto.from_config(self.config(config))

    def config(self, content: Mapping[str, Any]) -> Any:
        """transformers' config object."""
        from transformers import CONFIG_MAPPING

        return CONFIG_MAPPING[content["model_type"]].from_dict(dict(content))

    def without_idle(self, model: Any) -> Any:
        """The model without layers that it has, but never runs: an adapter there would do nothing.

        It may be changed in place.
        """
        return model

    def saved_names(self, name: str) -> str:
        """The name in files, of weights and of adapters, of what transformers calls `name`: where
        transformers has renamed what vLLM's class has not."""
        return name

    def own_names(self, name: str) -> str:
        """The other way round; a name of transformers' own stays as it is."""
        return name

    def weight_names(self, name: str) -> str:
        """The name in the checkpoint of a weight that transformers calls `name`: as in adapters,
        unless the checkpoint has a format of its own."""
        return self.saved_names(name)

    def stored(self, name: str, tensor: Any) -> Any:
        """The tensor of a weight that transformers calls `name`, as the checkpoint has it."""
        return tensor

    def is_norm(self, name: str, shape: Sequence[int]) -> bool:
        """Whether a weight is a norm's, and so 1."""
        plain = len(shape) == 1 and "norm" in name and "bias" not in name
        return name.endswith("norm.weight") or plain

    def tied(self, model: Any) -> Mapping[str, str]:
        """Weights that are others under a second name, which no checkpoint holds: name → other."""
        return dict(getattr(model, "all_tied_weights_keys", None) or {})

    def random_tensor(
        self, name: str, shape: tuple[int, ...], seed: int, tied: Mapping[str, str] = NOTHING
    ) -> Any:
        """The weight `name` in fp32; it depends on name, shape and seed alone, not on the others.

        Norms are 1, biases N(0, BIAS²), all else N(0, (GAIN/√fan_in)²). The head's rows are zero
        but for the words of `vocabulary`: any other token has logit 0, below the best of a hundred
        random words, so that answers are words and special tokens keep a finite logprob. So are
        those of the embeddings, where the head is `tied` to them. `sharp` ones are longer.
        """
        import torch

        if self.is_norm(name, shape):
            return torch.ones(shape)
        values = torch.randn(shape, generator=generator(seed, name), dtype=torch.float32)
        if name.endswith("bias"):
            return values * BIAS
        values *= GAIN / math.sqrt(self.fan_in(name, shape))
        if name == tied.get(self.head, self.head):
            words = torch.zeros(shape[0], 1)
            words[list(self.answers())] = 1.0
            values *= words
        if self.sharp and re.search(self.sharp, name):
            # Where values lie in the same weight, they are the last third of its rows.
            values[: shape[0] * 2 // 3 if "qkv" in name else None] *= self.sharper
        return values

    def answers(self) -> Sequence[int]:
        """The ids of whole words, which an answer may consist of."""
        return answer_ids()

    def fan_in(self, name: str, shape: Sequence[int]) -> int:
        """Inputs of one output. nn.Linear keeps [out, in], a convolution [out, in, …]; routed
        experts' parameters are [expert, in, out]."""
        if len(shape) == 3:
            return shape[-2]
        return math.prod(shape[1:]) if len(shape) > 1 else shape[0]

    # Loading.

    def load(self, checkpoint: str) -> Any:
        """The model in fp32, eager attention, ready to compute the reference."""
        importable()
        import torch
        import transformers

        auto: Any = getattr(transformers, self.auto)
        model: Any = auto.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation="eager", local_files_only=True
        )
        model.eval()
        self.prepare(model)
        return model

    def prepare(self, model: Any) -> None:
        """Change a loaded model so that it computes the same in less time."""

    def processor(self, checkpoint: str) -> Any:
        """transformers' processor of a checkpoint's folder."""
        importable()
        from transformers import AutoProcessor

        processors: Any = AutoProcessor
        return processors.from_pretrained(checkpoint, local_files_only=True)

    def weight(self, model: Any, path: str) -> Any:
        """The weight, [out, in] or a view of that, into which an adapter at a PEFT path is merged.

        A view of a larger weight where several modules of PEFT are one here.
        """
        weight = model.get_submodule(self.own_names(path)).weight
        return weight if weight.dim() == 2 else weight.view(weight.shape[0], -1)

    # Asking.

    def inputs(self, processor: Any, text: str, media: Sequence[Mapping[str, Any]]) -> Any:
        """The model's inputs for a chat prompt: media first, then `text`.

        `media`: [{"kind": "image", "audio" or "video", "files": [bytes, …]}, …]; a sound is a WAV
        file, a video has a file for each frame.
        """
        opened = [
            (one["kind"], [_OPEN[one["kind"]](file) for file in one["files"]]) for one in media
        ]
        pictures = [files[0] for kind, files in opened if kind == "image"]
        sounds = [files[0] for kind, files in opened if kind == "audio"]
        videos = [files for kind, files in opened if kind == "video"]
        parts: list[dict[str, Any]] = [{"type": one["kind"]} for one in media]
        messages = [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        known: dict[str, Any] = {"audio": sounds} if sounds else {"images": pictures or None}
        return self.processed(processor, prompt, known | self.video_arguments(videos))

    def canary(self) -> dict[str, Any]:
        """A small medium, as `inputs` takes it: a grey picture, a video, or a sound."""
        from PIL import Image

        size = self.family.sizes.small[0]
        shown = self.family.sizes.drawn(size)
        if isinstance(shown, Sound):
            return {"kind": "audio", "files": [sound_wav(shown)]}
        if isinstance(shown, Video):
            return {"kind": "video", "files": [frame_jpeg(frame) for frame in shown.pictures]}
        png = io.BytesIO()
        Image.new("RGB", size, (90, 120, 150)).save(png, "PNG")
        return {"kind": "image", "files": [png.getvalue()]}

    def video_arguments(self, videos: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """What the processor is given for videos (frames as PIL pictures), as vLLM gives it: every
        frame, one a second, none sampled."""
        if not videos:
            return {}
        import numpy as np
        from transformers.video_utils import VideoMetadata

        metadata = [
            VideoMetadata(
                total_num_frames=len(frames),
                fps=1.0,
                duration=float(len(frames)),
                frames_indices=list(range(len(frames))),
            )
            for frames in videos
        ]
        stacked = [np.stack([np.asarray(frame) for frame in frames]) for frames in videos]
        return {"videos": stacked, "video_metadata": metadata, "do_sample_frames": False}

    def processed(self, processor: Any, prompt: str, media: Mapping[str, Any]) -> Any:
        """The processor's output for a prompt that holds a placeholder for each medium."""
        return processor(text=prompt, **media, add_special_tokens=False, return_tensors="pt")

    def arguments(self, inputs: Any, length: int) -> dict[str, Any]:
        """What the model is called with beside input_ids: tensors of media in fp32, and those that
        have an entry for each token made `length` long with zeros."""
        import torch

        known: dict[str, Any] = {}
        tokens = inputs["input_ids"].shape
        for name, value in inputs.items():
            if name in ("input_ids", "attention_mask") or not hasattr(value, "shape"):
                continue
            if value.shape == tokens:
                more = torch.zeros((1, length - tokens[1]), dtype=value.dtype)
                known[name] = torch.cat([value, more], dim=1)
            else:
                known[name] = value.to(torch.float32) if value.is_floating_point() else value
        return known

    def logits(self, model: Any, inputs: Any, token_ids: Sequence[int]) -> Any:
        """[tokens, vocabulary] of prompt and answer in one forward pass."""
        import torch

        answer = torch.tensor([list(token_ids)], dtype=inputs["input_ids"].dtype)
        whole = torch.cat([inputs["input_ids"], answer], dim=1)
        with torch.inference_mode():
            return model(
                input_ids=whole,
                attention_mask=torch.ones_like(whole),
                **self.arguments(inputs, whole.shape[1]),
            ).logits[0]

    def greedy(self, model: Any, inputs: Any, count: int) -> list[int]:
        """The `count` likeliest tokens, one after the other, end-of-answer tokens included."""
        import torch

        ids, past, answer = inputs["input_ids"], None, []
        arguments = self.arguments(inputs, ids.shape[1])
        with torch.inference_mode():
            for _ in range(count):
                out = model(input_ids=ids, past_key_values=past, use_cache=True, **arguments)
                past, arguments = out.past_key_values, {}
                answer.append(int(out.logits[0, -1].argmax()))
                ids = torch.tensor([answer[-1:]], dtype=ids.dtype)
        return answer

    def with_ties(
        self, model: Any, compute: Callable[[], list[float]]
    ) -> tuple[list[float], list[list[float]]]:
        """What `compute` gives, and what else is right: the other side of each routing tie."""
        return compute(), []


@lru_cache(maxsize=1)
def importable() -> None:
    """Beside CPU torch, torchvision of another build does not load without this."""
    from mm_lora.inside import torchvision_schemas

    torchvision_schemas.declare()


def generator(*key: object) -> Any:
    """A random stream (torch.Generator) of its own for each key, the same on every machine."""
    import torch

    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def write_files(
    folder: Path,
    config: Mapping[str, Any],
    files: Mapping[str, Any],
    special_tokens: Sequence[str],
    chat_template: str,
) -> None:
    """Everything of a checkpoint but its weights; a file's content is text, or becomes JSON. None
    leaves one out."""
    named = {"config.json": config, "tokenizer.json": tokenizer_json(special_tokens), **files}
    for name, content in named.items():
        if content is None:
            continue
        if not isinstance(content, str):
            content = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def _opened(png: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(png)).convert("RGB")


def _heard(file: bytes) -> Any:
    """The samples of a WAV file, between -1 and 1."""
    import numpy as np

    with wave.open(io.BytesIO(file)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    return samples.astype(np.float32) / 32768


_OPEN: Mapping[str, Callable[[bytes], Any]] = {
    "image": _opened,
    "video": _opened,
    "audio": _heard,
}
