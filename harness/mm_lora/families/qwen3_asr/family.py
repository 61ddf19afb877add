"""Qwen3-ASR: sounds alone; vLLM's class has the projector in the tower and no connector."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Encoded
from mm_lora.families.family import Family, GoodAdapter, SoundSizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.modules import LANGUAGE, TOWER, ModuleGroup, by_name, language_model, siblings
from mm_lora.families.pictures import prompts
from mm_lora.families.qwen3_asr import miniature
from mm_lora.families.qwen3_asr.layout import Layout, halved, layout_of
from mm_lora.families.sounds import Clip, flow_of, require_sound

MARKERS = 2
CONV_OUT = "audio_tower.conv_out"
PADDED, UNFILLED = "padded-windows-counted", "short-windows-not-filled"
_AUDIO = "model.audio_tower.layers.*"
_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")

GROUPS = by_name(
    siblings("tower-attention", f"{_AUDIO}.self_attn", _ATTENTION, "*_proj"),
    siblings("tower-mlp", _AUDIO, ("fc1", "fc2"), "fc?"),
    # What fills up a sound's last window is thrown away behind it, and is nobody's row.
    ModuleGroup(
        name="conv-out",
        pattern=r"model\.audio_tower\.conv_out",
        role=TOWER,
        rows="encoder",
        target="model.audio_tower.conv_out",
        unwrapped="not among --lora-target-modules",
    ),
    siblings(
        "projector",
        "model.multi_modal_projector",
        ("linear_1", "linear_2"),
        "linear_?",
        prefix="projector",
        drop="linear_",
    ),
    language_model("model.language_model.layers.*"),
)
_NAMES = ("qkv_proj", "out_proj", "fc1", "fc2", "proj1", "proj2")
_TEXT_NAMES = ("o_proj", "gate_up_proj", "down_proj")


class Qwen3Asr(Family):
    """A sound is cut into windows of a second; three convolutions make 13 rows of each."""

    name = "qwen3-asr"
    title = "Qwen3-ASR"
    model_types = ("qwen3_asr",)
    published = ("qwen3-asr", "qwen3-asr-0.6b")
    repositories: ClassVar[Mapping[str, str]] = {
        "Qwen/Qwen3-ASR-1.7B": "qwen3-asr",
        "Qwen/Qwen3-ASR-0.6B": "qwen3-asr-0.6b",
    }
    media = ("audio",)
    limits: ClassVar[Mapping[str, int]] = {"audio": 4}
    groups = GROUPS
    mapped: ClassVar[Mapping[str, str]] = {TOWER: "encoder"}
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "13·⌊frames / 100⌋ + ⌈(frames mod 100) / 8⌉, frames = ⌊samples / 160⌋ of at "
        "least 8000 samples (arXiv 2601.21337: 12.5 a second, each second by itself)"
    }
    forms = peft_forms(
        GROUPS,
        ranks={"q_proj": 2, "fc1": 4},
        alphas={"out_proj": 5, "fc2": 40},
        ends=("fc1", "fc2"),
        ends_groups=("tower-mlp",),
    )
    good = GoodAdapter(adapter="tower-attention", plain="out_proj", outputs=64)
    # None is a whole number of windows; one of the small ones is shorter than a window.
    sizes = SoundSizes(
        one=(20000, 16000),
        few=(45000, 16000),
        many=(105000, 16000),
        small=((17760, 16000), (30001, 16000), (16640, 16000), (8000, 16000)),
        labels={"one": "2-windows", "few": "3-windows", "many": "7-windows"},
        unit="window",
    )
    special_tokens = miniature.SPECIAL_TOKENS
    vllm = VllmClass(module="qwen3_asr", name="Qwen3ASRForConditionalGeneration")
    # Not `conv_out`: see known_defects.toml.
    target_modules = (*_NAMES, *_TEXT_NAMES)
    every_target_module = (*_NAMES, "conv_out", *_TEXT_NAMES)
    base_predictors = (UNFILLED,)
    prefixes: ClassVar[tuple[tuple[str, str], ...]] = (
        ("model.multi_modal_projector.linear_1", "audio_tower.proj1"),
        ("model.multi_modal_projector.linear_2", "audio_tower.proj2"),
        ("model.audio_tower.", "audio_tower."),
        ("model.language_model.", "language_model.model."),
        ("lm_head", "language_model.lm_head"),
    )
    known_flows = (
        *known(
            name,
            (16000, 16000),
            "max_position_embeddings of transformers' Qwen3ASREncoderConfig, rows of 1 s",
            image_tokens=13,
        ),
        *known(
            name,
            (480000, 16000),
            "13 rows for each of the 30 s of vLLM's own dummy sound",
            image_tokens=390,
        ),
    )
    prefix_cases: ClassVar[Mapping[str, str]] = {
        CONV_OUT: TOWER,
        "audio_tower.layers.23.self_attn.qkv_proj": TOWER,
        "audio_tower.layers.0.fc2": TOWER,
        "audio_tower.proj2": TOWER,
        "language_model.model.layers.27.self_attn.o_proj": LANGUAGE,
    }

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """See `layout_of`."""
        return layout_of(config, folder)

    def flow(self, layout: Layout, medium: Encoded) -> Flow:
        """The whole tower sees one row for each placeholder."""
        sound = require_sound(medium, self.title)
        frames = layout.frames(sound.samples, sound.rate)
        rows, windows = layout.rows(frames), layout.windows(frames)
        return flow_of(
            sound,
            rows={"encoder": rows},
            tokens=rows,
            markers=MARKERS,
            units=windows,
            details={"frames": frames, "windows": windows},
        )

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and the rows of a whole window."""
        return (
            f"{layout.hop} samples / frame, {layout.rate} samples / s",
            f"rows of {layout.window} frames: {halved(layout.window)}; "
            f"a sound has at least {layout.shortest} samples",
        )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config)

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(layout)

    def questions(self, layout: Layout) -> Sequence[Sequence[Clip]]:
        """Every border of filling, frame, row and window; then several in one prompt."""
        hop, second = layout.hop, layout.window * layout.hop
        lengths = {
            "one-sample": 1,
            "shortest": layout.shortest,
            "under-shortest": layout.shortest - 1,
            "over-shortest": layout.shortest + hop,
            "under-window": second - 1,
            "window": second,
            "over-window": second + hop,
            "almost-a-frame-more": second + hop - 1,
            "eight-frames-more": second + 8 * hop,
            "nine-frames-more": second + 9 * hop,
            "two-windows": 2 * second,
            "attention-window": 8 * second,
            "over-attention-window": 8 * second + 3 * hop,
            "half-a-minute": 30 * second - 1,
            **{f"{w}x{r}": w for w, r in (self.sizes.one, self.sizes.few, self.sizes.many)},
            **{f"{n / 10:.1f}-windows": n * second // 10 + 7 for n in (6, 13, 25, 47, 123)},
        }
        clips = {name: Clip(name, samples, layout.rate) for name, samples in lengths.items()}
        together = (("window", "2.5-windows"), ("12.3-windows", "one-sample", "two-windows"))
        return prompts(clips, together)

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """What each sound has, and several of them; numbers of no sound."""
        counts = {n * flow.tokens for flow in self.alone(layout) for n in (1, 2, 8)}
        right = [
            HookCase(label=f"{n} audio tokens", tokens=n, tower=n, medium="audio")
            for n in sorted(counts)
        ]
        odd = [HookCase(label=f"{n} audio tokens", tokens=n, medium="audio") for n in (0, -1)]
        return [*right, *odd]

    def predicted_rows(self, layout: Layout, found: Sequence[Any]) -> tuple[str, ...]:
        """`padded-windows-counted`: only the convolutions' projection is wrong, and it sees whole
        windows where it is mapped the rows that are kept."""
        whole = halved(layout.window)
        padded = all(
            CONV_OUT in one.where
            and one.what == "rows that it saw"
            and one.observed > one.expected
            and one.observed % whole == 0
            for one in found
        )
        return (PADDED,) if found and padded else ()


FAMILY = Qwen3Asr()
