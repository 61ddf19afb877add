"""Ultravox: sounds alone, in chunks of half a minute that the encoder sees whole."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Encoded, Sound
from mm_lora.families.family import Family, GoodAdapter, SoundSizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER, by_name, language_model, siblings
from mm_lora.families.pictures import prompts
from mm_lora.families.sounds import Clip, flow_of, require_sound
from mm_lora.families.ultravox import miniature
from mm_lora.families.ultravox.layout import Layout, layout_of

BUDGET = "placeholders of short sounds"
FILLING = "filling-heard"
MLP_IGNORED = "tower-mlp-ignored"
SHORT_BUFFERS = "buffers-sized-by-whole-chunks"
_LAYERS = "audio_tower.layers.*"
_FLAT = re.compile(r"(audio_tower\.layers\.\d+)\.(fc[12])")
_DEEP = re.compile(r"(audio_tower\.layers\.\d+)\.mlp\.(fc[12])")

GROUPS = by_name(
    siblings(
        "tower-attention",
        f"{_LAYERS}.self_attn",
        ("q_proj", "k_proj", "v_proj", "out_proj"),
        "*_proj",
    ),
    siblings("tower-mlp", _LAYERS, ("fc1", "fc2"), "fc?"),
    siblings(
        "projector",
        "multi_modal_projector",
        ("linear_1", "linear_2"),
        "linear_?",
        role=CONNECTOR,
        rows="connector",
        drop="linear_",
    ),
    language_model("language_model.model.layers.*"),
)


class Ultravox(Family):
    """Where the tower takes adapters, vLLM fills up each chunk, so that a sound of a second has the
    rows of half a minute."""

    name = "ultravox"
    title = "Ultravox"
    model_types = ("ultravox",)
    published = ("ultravox",)
    repositories: ClassVar[Mapping[str, str]] = {}
    state = "partly"
    state_reason = (
        "with a processor of our own, since the published one is code in the checkpoint; vLLM "
        "ignores adapters of the tower's fc1 and fc2, and a sound that does not fill its last "
        "placeholder is answered with what fills it up; with the fixes its core passes"
    )
    media = ("audio",)
    limits: ClassVar[Mapping[str, int]] = {"audio": 4}
    groups = GROUPS
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "1500 · chunks, chunks = ⌈frames / 3000⌉, frames = ⌈samples / 160⌉ (vLLM fills "
        "up each chunk where the tower takes adapters)",
        "connector": "⌈1500 / stack_factor⌉ · chunks; placeholders are ⌈frames / 16⌉ of each chunk",
    }
    forms = peft_forms(
        GROUPS,
        ranks={"q_proj": 2, "linear_1": 4},
        alphas={"out_proj": 5, "linear_2": 40},
        # Without the tower's MLP, which has another name in vLLM.
        wide=("tower-attention", "projector", "language-v_proj", "language-down_proj"),
        ends=("linear_1", "linear_2"),
        ends_groups=("projector",),
    )
    good = GoodAdapter(adapter="tower-attention", plain="out_proj", outputs=64)
    # None is a whole number of placeholders but the first.
    sizes = SoundSizes(
        one=(20480, 16000),
        few=(500000, 16000),
        many=(1100000, 16000),
        small=((17760, 16000), (30001, 16000), (16640, 16000), (8000, 16000)),
        labels={"one": "1-chunk", "few": "2-chunks", "many": "3-chunks"},
        unit="chunk",
    )
    predictors = (MLP_IGNORED,)
    predicted_roles = (TOWER,)
    base_predictors = (FILLING,)
    special_tokens = miniature.SPECIAL_TOKENS
    vllm = VllmClass(module="ultravox", name="UltravoxModel")
    flags: ClassVar[Mapping[str, str | bool]] = {"trust-remote-code": True}
    text_part = "language_model."
    known_flows = known(
        name,
        (480000, 16000),
        "vLLM's own comment: 188 rows for the 1500 positions of a whole chunk",
        encoder_rows=1500,
        connector_rows=188,
        image_tokens=188,
    )
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "audio_tower.layers.31.self_attn.qkv_proj": TOWER,
        "audio_tower.layers.0.mlp.fc2": TOWER,
        "multi_modal_projector.linear_1": CONNECTOR,
        "multi_modal_projector.linear_2": CONNECTOR,
        "language_model.model.layers.15.self_attn.o_proj": LANGUAGE,
    }

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """See `layout_of`."""
        return layout_of(config, folder)

    def flow(self, layout: Layout, medium: Encoded) -> Flow:
        """Rows by chunks, placeholders by frames."""
        sound = require_sound(medium, self.title)
        frames = layout.frames(sound.samples, sound.rate)
        chunks = layout.chunks(frames)
        return flow_of(
            sound,
            rows={
                "encoder": chunks * layout.positions,
                "connector": chunks * layout.chunk_rows,
            },
            tokens=layout.tokens(frames),
            units=chunks,
            details={"frames": frames, "chunks": chunks},
        )

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and the rows of a chunk."""
        return (
            f"{layout.hop} samples / frame, {layout.rate} samples / s, {layout.joined} frames / "
            "placeholder",
            f"rows of a chunk of {layout.chunk} frames, however few of them are heard: "
            f"{layout.positions} encoder, {layout.chunk_rows} connector",
        )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config)

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(layout)

    def questions(self, layout: Layout) -> Sequence[Sequence[Clip]]:
        """Every border of filling, frame, placeholder and chunk; then several in one prompt."""
        hop, joined, chunk = layout.hop, layout.joined, layout.chunk
        lengths = {
            "one-sample": 1,
            "two-frames": 2 * hop,
            "over-two-frames": 2 * hop + 1,
            "under-a-placeholder": joined * hop - 1,
            "a-placeholder": joined * hop,
            "over-a-placeholder": joined * hop + 1,
            "half-a-second": layout.rate // 2,
            "a-second": layout.rate,
            "ten-seconds": 10 * layout.rate + 7,
            "under-a-chunk": chunk * hop - 1,
            "a-chunk": chunk * hop,
            "over-a-chunk": chunk * hop + 1,
            "a-chunk-and-a-placeholder": (chunk + joined) * hop,
            "two-chunks": 2 * chunk * hop,
            "over-two-chunks": 2 * chunk * hop + hop,
            **{f"{w}x{r}": w for w, r in (self.sizes.one, self.sizes.few, self.sizes.many)},
        }
        clips = {name: Clip(name, samples, layout.rate) for name, samples in lengths.items()}
        together = (("a-second", "over-a-chunk"), ("two-frames", "a-chunk", "ten-seconds"))
        return prompts(clips, together)

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """What each sound has; numbers of none; and the room that short sounds need together."""
        flows = {flow.tokens: flow for flow in self.alone(layout)}
        right = [
            HookCase(
                label=f"{tokens} audio tokens",
                tokens=tokens,
                tower=flow.rows["encoder"],
                connector=flow.rows["connector"],
                medium="audio",
                # Where there is no sound, vLLM asks for the room of its buffers.
                shapes={"audio_lens": (flow.units,)},
            )
            for tokens, flow in sorted(flows.items())
        ]
        odd = [HookCase(label=f"{n} audio tokens", tokens=n, medium="audio") for n in (0, -1)]
        second = self.flow(layout, Sound(samples=layout.rate, rate=layout.rate))
        room = [
            HookCase(
                label=f"{budget} {BUDGET}",
                tokens=budget,
                tower=budget // second.tokens * layout.positions,
                connector=budget // second.tokens * layout.chunk_rows,
                medium="audio",
                least=True,
            )
            for budget in (4096, 8192)
        ]
        return [*right, *odd, *room]

    def predicted_rows(self, layout: Any, found: Sequence[Any]) -> tuple[str, ...]:
        """`buffers-sized-by-whole-chunks`: nothing but the buffers' sizes is wrong, which are those
        of as many whole chunks as the placeholders are."""

        def whole(one: Any) -> bool:
            of = layout.positions if one.what.startswith("tower") else layout.chunk_rows
            return bool(BUDGET in one.where and one.observed % of == 0)

        return (SHORT_BUFFERS,) if found and all(map(whole, found)) else ()

    def predicted_coverage(self, found: Sequence[Any]) -> tuple[str, ...]:
        """`tower-mlp-ignored`: no layer uses the tensors of the tower's fc1 and fc2, and nothing
        else is wrong but their number."""
        tensors = [one for one in found if one.what == "layers that use it"]
        ignored = all(_FLAT.search(one.where) and one.observed == "none" for one in tensors)
        counted = all(one.what.endswith("per group") for one in found if one not in tensors)
        return (MLP_IGNORED,) if tensors and ignored and counted else ()

    def to_vllm(self, path: str) -> str:
        """vLLM's layers have a level more."""
        return _FLAT.sub(r"\1.mlp.\2", super().to_vllm(path))

    def from_vllm(self, path: str) -> str:
        """The other way round."""
        return _DEEP.sub(r"\1.\2", super().from_vllm(path))


FAMILY = Ultravox()
