"""Gemma 4's small models as they hear: four frames of 10 ms become one row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Encoded
from mm_lora.families.family import Calls, SoundSizes
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.gemma4 import miniature
from mm_lora.families.gemma4.family import FAMILY as SEEING
from mm_lora.families.gemma4.family import Gemma4
from mm_lora.families.gemma4_sounds.layout import layout_of, rows
from mm_lora.families.gemma4_sounds.modules import GROUPS
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.families.pictures import prompts
from mm_lora.families.sounds import Clip, flow_of, require_sound

_MARKERS = 2
_NAMES = ("linear", "input_proj_linear", "output_proj", "embedding_projection")
_TEXT_NAMES = (
    *("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    *("per_layer_input_gate", "per_layer_projection", "per_layer_model_projection"),
)


class Gemma4Sounds(Gemma4):
    """The same models and class of vLLM's, served for sounds alone: the server leaves the vision
    tower out, and a config.json is read as the family that sees."""

    name = "gemma4-sounds"
    title = "Gemma 4, sounds"
    model_types = ()
    beside = SEEING.name
    published = ("gemma4-sounds",)
    repositories: ClassVar[Mapping[str, str]] = {}
    state = "partly"
    state_reason = (
        "the core passes with the fixes; without, no server starts that names its target modules. "
        "The layer of relative keys takes no adapter here, and media of other kinds beside a sound "
        "were not asked about"
    )
    media = ("audio",)
    limits: ClassVar[Mapping[str, int]] = {"audio": 4, "image": 0, "video": 0}
    groups = GROUPS
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "⌈frames / 4⌉, frames = ⌊(samples - 1) / 160⌋ of at most 480000 samples (40 ms "
        "a token, transformers' documentation of Gemma 4)",
        "connector": "as many as encoder rows",
        "distances": "⌊(attention_chunk_size + attention_context_left - 1 + "
        "attention_context_right) / 2⌋ + 1: 13, the same ones for all sounds together",
    }
    forms = peft_forms(
        GROUPS,
        ranks={r"q_proj\.linear": 2, r"ffw_layer_1\.linear": 4},
        alphas={r"post\.linear": 5, r"ffw_layer_2\.linear": 40},
        ends=("embedding_projection",),
        ends_groups=("projector",),
    )
    sizes = SoundSizes(
        one=(20000, 16000),
        few=(45000, 16000),
        many=(105000, 16000),
        small=((17760, 16000), (30001, 16000), (16640, 16000), (8000, 16000)),
        labels={"one": "1.3-seconds", "few": "2.8-seconds", "many": "6.6-seconds"},
    )
    piece = 512
    # Not `relative_k_proj`: see the group.
    target_modules = (*_NAMES, *_TEXT_NAMES)
    every_target_module = (*_NAMES, "relative_k_proj", *_TEXT_NAMES)
    prefixes: ClassVar[tuple[tuple[str, str], ...]] = (
        ("model.audio_tower.", "audio_tower."),
        ("model.embed_audio.", "embed_audio."),
        *Gemma4.prefixes,
    )
    known_flows = known(
        name,
        (480_000, 16000),
        "audio_seq_length of transformers' Gemma4Processor: 30 s",
        image_tokens=750,
    )
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "audio_tower.layers.11.self_attn.q_proj.linear": TOWER,
        "audio_tower.layers.0.feed_forward2.ffw_layer_1.linear": TOWER,
        "audio_tower.layers.0.self_attn.relative_k_proj": TOWER,
        "audio_tower.layers.0.lconv1d.linear_end.linear": TOWER,
        "audio_tower.subsample_conv_projection.input_proj_linear": TOWER,
        "audio_tower.output_proj": TOWER,
        "embed_audio.embedding_projection": CONNECTOR,
        "language_model.model.layers.14.self_attn.qkv_proj": LANGUAGE,
        "language_model.model.layers.34.per_layer_projection": LANGUAGE,
    }

    def published_config(self, name: str) -> dict[str, Any]:
        """The small model's, as the family that sees has it."""
        return {**SEEING.published_config("gemma4"), "name": name}

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Any:
        """See `layout_of`."""
        return layout_of(config, folder)

    def flow(self, layout: Any, medium: Encoded) -> Flow:
        """Every layer sees one row for each placeholder."""
        sound = require_sound(medium, f"{self.title},")
        frames = layout.frames(sound.samples, sound.rate)
        count = rows(frames)
        return flow_of(
            sound,
            rows={"encoder": count, "connector": count, "distances": layout.distances},
            tokens=count,
            markers=_MARKERS,
            details={"frames": frames},
        )

    def calls(self, flows: Sequence[Flow], rows: str) -> list[Calls]:
        """A layer that is given distances has them once, whosever the sounds are."""
        found = super().calls(flows, rows)
        return [call[:1] for call in found] if rows == "distances" else found

    def describe(self, layout: Any) -> Sequence[str]:
        """The layout, and the most rows."""
        return (
            f"a frame every {layout.hop} samples, {layout.rate} samples / s",
            f"one row for 4 frames, at most {rows(layout.frames(layout.longest, layout.rate))}",
        )

    def miniature(self, config: Mapping[str, Any], layout: Any) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config, hears=True)

    def side_files(self, layout: Any) -> dict[str, Any]:
        """The same as of the family that sees, by its own layout."""
        return SEEING.side_files(SEEING.published_layout(SEEING.published_config("gemma4")))

    def questions(self, layout: Any) -> Sequence[Sequence[Clip]]:
        """Every border of frame and row, and of what is cut off; then several in one prompt."""
        hop = layout.hop
        lengths = {
            "shortest": hop + 1,
            "two-hops": 2 * hop,
            "over-two-hops": 2 * hop + 1,
            **{f"{n}-frames": n * hop + 1 for n in (3, 4, 5, 8, 9, 48, 49, 53)},
            "under-a-frame": 9 * hop,
            "second": layout.rate,
            "half-a-minute": layout.longest,
            "over-half-a-minute": layout.longest + 4 * hop + 1,
            "just-under": layout.longest - 4 * hop,
            "odd": 12345,
            **{f"{w}x{r}": w for w, r in (self.sizes.one, self.sizes.few, self.sizes.many)},
        }
        clips = {name: Clip(name, samples, layout.rate) for name, samples in lengths.items()}
        together = (("second", "odd"), ("half-a-minute", "shortest", "9-frames"))
        return prompts(clips, together)

    def clips(self, layout: Any) -> Sequence[Any]:
        """No videos."""
        return ()

    def hook_cases(self, layout: Any) -> Sequence[HookCase]:
        """What each sound has; what buffers are sized by; numbers of no sound."""
        cases = [
            HookCase(
                label=f"{flow.size[0]} samples",
                tokens=flow.tokens,
                tower=flow.tokens,
                connector=flow.tokens,
                medium="audio",
                shapes={"input_features_padded": (flow.details["frames"], 128)},
            )
            for flow in self.alone(layout)
        ]
        room = sorted({n * flow.tokens for flow in self.alone(layout) for n in (1, 2, 8)})
        cases += [
            HookCase(
                label=f"room for {n} placeholders",
                tokens=n,
                tower=n,
                connector=n,
                medium="audio",
                least=True,
            )
            for n in room
        ]
        return [*cases, HookCase(label="0 audio tokens", tokens=0, medium="audio")]

    def predicted_rows(self, layout: Any, found: Sequence[Any]) -> tuple[str, ...]:
        """None: see the family that sees for its own."""
        return ()


FAMILY = Gemma4Sounds()
