"""`LlavaFamily`: what the families of LLaVA's class have in common, whatever their tower."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.family import Family, GoodAdapter, PeftForms, Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase
from mm_lora.families.llava import miniature
from mm_lora.families.llava.layout import Layout, layout_of, require_size
from mm_lora.families.modules import CONNECTOR, LANGUAGE, PROMPT, TOWER, ModuleGroup, by_name
from mm_lora.families.pictures import TURNED, Picture, prompts

HERE = Path(__file__).parent
_TEXT, _PROJECTOR = "model.language_model.layers.*", "model.multi_modal_projector.linear_"
PICTURES = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
}
"""Settings of every image processor here."""


def groups(
    layers: str, pattern: str, attention: Sequence[str], mlp: Sequence[str]
) -> Mapping[str, ModuleGroup]:
    """The module groups. `layers`: a glob of the tower's, `pattern`: the same as an expression;
    `attention`, `mlp`: paths in a layer, the last name of each naming its adapter."""

    def tower(name: str, paths: Sequence[str]) -> ModuleGroup:
        parent = paths[0].rpartition(".")[0]
        ends = [path.rpartition(".")[2] for path in paths]
        # Not a bare star: the activation lies beside them.
        glob = "*_proj" if ends[0].endswith("_proj") else "fc?"
        return ModuleGroup(
            name=name,
            pattern=rf"{pattern}\.{parent}\.({'|'.join(ends)})",
            role=TOWER,
            rows="encoder",
            target=f"{layers}.{parent}.{glob}",
            projections={f"tower-{end}": f"{layers}.{parent}.{end}" for end in ends},
        )

    # The patch embedding is a convolution, for which vLLM has no LoRA layer: in no group.
    return by_name(
        tower("tower-attention", attention),
        tower("tower-mlp", mlp),
        ModuleGroup(
            name="projector",
            pattern=r"model\.multi_modal_projector\.linear_[12]",
            role=CONNECTOR,
            rows="connector",
            target=f"{_PROJECTOR}?",
            projections={f"projector-{n}": f"{_PROJECTOR}{n}" for n in "12"},
        ),
        ModuleGroup(
            name="language-model",
            pattern=r"model\.language_model\.layers\.\d+\."
            r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
            role=LANGUAGE,
            rows=PROMPT,
            target=f"{_TEXT}.*_proj",
            projections={
                **{f"language-{p}_proj": f"{_TEXT}.self_attn.{p}_proj" for p in "qkvo"},
                **{f"language-{p}_proj": f"{_TEXT}.mlp.{p}_proj" for p in ("gate", "up", "down")},
            },
        ),
    )


def forms(known: Mapping[str, ModuleGroup], layers: str, last: str, mlp: str) -> PeftForms:
    """What PEFT configurations speak of. `last`: the end of the attention's last projection,
    `mlp`: of one in the MLP; `layers`: a glob of the tower's."""
    language = known["language-model"].projections
    tower = known["tower-attention"]
    return PeftForms(
        wide=(
            *(known[name].target for name in ("tower-attention", "tower-mlp", "projector")),
            language["language-v_proj"],
            language["language-down_proj"],
        ),
        ranks={"q_proj": 2, mlp: 4},
        alphas={last: 5, mlp: 40},
        partial=(
            tower.target.replace(layers, layers.replace("*", "1")),
            "model.language_model.layers.2.self_attn.[vo]_proj",
        ),
        part_of_packed=(tower.projections["tower-q_proj"], tower.projections["tower-v_proj"]),
        ends=("linear_1", "linear_2"),
        ends_groups=("projector",),
    )


class LlavaFamily(Family):
    """A tower, a projector of two layers that takes a row for each placeholder, any language model.

    One placeholder is a row of the tower, but for a class token that is dropped between them.
    """

    tower: ClassVar[str]
    """`model_type` of the vision_config."""
    assumed: ClassVar[Mapping[str, int]]
    """What transformers assumes where vision_config lacks a number; what the tower always does."""
    processor_class: ClassVar[str] = "LlavaProcessor"
    image_token: ClassVar[str] = "<image>"
    special_tokens: ClassVar[tuple[str, ...]] = (
        "<unk>",
        miniature.BOS,
        miniature.EOS,
        miniature.PAD,
        "<image>",
    )
    mapped: ClassVar[Mapping[str, str]] = {TOWER: "encoder", CONNECTOR: "connector"}
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "p², p = ⌊image_size / patch_size⌋",
        "connector": "p² (LLaVA-1.5, arXiv 2310.03744: a projector of each patch)",
    }
    good = GoodAdapter(
        adapter="language-attention",
        parent="self_attn",
        fused="v_proj",
        plain="o_proj",
        outputs=miniature.TEXT_HIDDEN,
    )
    sizes = Sizes(few=(300, 400), grows=False)
    vllm = VllmClass(module="llava", name="LlavaForConditionalGeneration")
    prefixes: ClassVar[tuple[tuple[str, str], ...]] = (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("lm_head", "language_model.lm_head"),
    )
    connector_cases: ClassVar[Mapping[str, str]] = {
        "multi_modal_projector.linear_1": CONNECTOR,
        "multi_modal_projector.linear_2": CONNECTOR,
        "language_model.model.layers.23.self_attn.qkv_proj": LANGUAGE,
    }
    """What `prefix_cases` are but for the tower's."""

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """All of config.json; the image processor, where there is one, must say the same."""
        layout = layout_of(config, self.tower, self.assumed)
        if folder is not None:
            require_size(folder, layout.image_size)
        return layout

    def markers(self, grid: tuple[int, int]) -> int:
        """Tokens of a picture that are no placeholders."""
        return 0

    def flow(self, layout: Layout, medium: Medium) -> Flow:
        """One call of the tower; the projector sees what is left of its rows."""
        grid = layout.grid(medium.width, medium.height)
        tokens = layout.connector_rows(grid)
        return Flow(
            name=f"{medium.width}×{medium.height}",
            size=(medium.width, medium.height),
            rows={"encoder": layout.encoder_rows(grid), "connector": tokens},
            tokens=tokens,
            prompt_tokens=tokens + self.markers(grid),
            details={"grid_height": grid[0], "grid_width": grid[1]},
        )

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and the rows of a picture."""
        numbers = f"image_size {layout.image_size} / patch_size {layout.patch_size}"
        if layout.free:
            return (f"{numbers}, any shape", "one row of the tower for a patch, none more")
        grid = layout.grid(1, 1)
        return (
            f"{numbers}, every picture a square",
            f"rows of any picture: {layout.encoder_rows(grid)} encoder, "
            f"{layout.connector_rows(grid)} connector",
        )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        vision = {"image_size": layout.image_size, "patch_size": layout.patch_size}
        tokens, token = self.special_tokens, self.image_token
        whole = {"model_type": self.tower, **vision}
        return miniature.miniature_config(config, tokens, token, **whole)

    def picture_settings(self, layout: Layout) -> dict[str, Any]:
        """The image processor's."""
        return dict(PICTURES)

    def processor_settings(self, layout: Layout) -> dict[str, Any]:
        """The processor's."""
        return {
            "patch_size": layout.patch_size,
            "image_token": self.image_token,
            "num_additional_image_tokens": int(layout.class_token),
            "vision_feature_select_strategy": "default" if layout.drops_first else "full",
        }

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(
            self.special_tokens,
            self.processor_class,
            self.processor_settings(layout),
            self.picture_settings(layout),
        )

    def questions(self, layout: Layout) -> Sequence[Sequence[Picture]]:
        """Every border of size and patch alone, in both directions; then several in one prompt."""
        side, patch = layout.image_size, layout.patch_size
        sizes = {
            "1x1": (1, 1),
            "one-patch": (patch, patch),
            "over-a-patch": (patch + 1, patch - 1),
            "square": (side, side),
            "under-square": (side - 1, side),
            "over-square": (side, side + 1),
            "wide": (side, patch),
            "over-wide": (side + 1, 5 * patch),
            "upright": (patch, side),
            "thin": (side, 1),
            "large": (5000, 3001),
            "twice": (2 * side, side),
            "rounded": (3 * side + 1, 2 * side + 1),
            "100x60": (100, 60),
            "337x336": (337, 336),
            **{f"{w}x{h}": (w, h) for w, h in (self.sizes.one, self.sizes.few, self.sizes.many)},
        }
        seen = {name: Picture(name, *size) for name, size in sizes.items()}
        seen["gray"] = Picture("gray", 2 * patch, patch, mode="L")
        seen["rgba"] = Picture("rgba", patch, 3 * patch, mode="RGBA")
        seen["turned"] = Picture("turned", 300, 100, orientation=TURNED)
        together = (
            ("square", "300x400"),
            ("700x400", "upright", "700x400"),
            ("1x1", "wide", "gray", "turned"),
        )
        return prompts(seen, together)

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """What each picture of the questions has, alone and several times; numbers of no picture.

        Several, since the buffers of the wrappers are sized by as many placeholders.
        """
        known: dict[int, HookCase] = {}
        for (picture, *more), times in (
            (p, n) for n in (1, 2, 3, 8) for p in self.questions(layout)
        ):
            if more:
                continue
            flow = self.flow(layout, picture.asked)
            tokens, rows = times * flow.tokens, times * flow.rows["encoder"]
            case = HookCase(
                label=f"{tokens} placeholders", tokens=tokens, tower=rows, connector=tokens
            )
            known.setdefault(tokens, case)
        odd = (0, -1) if layout.free else (0, -1, 1, layout.connector_rows(layout.grid(1, 1)) + 1)
        return [*known.values(), *(HookCase(label=f"{n} image tokens", tokens=n) for n in odd)]

    @property
    def chat_template(self) -> str:
        """LLaVA-1.5's, where a family has none of its own."""
        own = self.folder / "chat_template.jinja"
        return (own if own.is_file() else HERE / own.name).read_text(encoding="utf-8")

    @property
    def sources(self) -> tuple[str, ...]:
        """The shared files too."""
        shared = (str(Path("families", HERE.name, file.name)) for file in sorted(HERE.glob("*.py")))
        return tuple(dict.fromkeys((*super().sources, *shared)))
