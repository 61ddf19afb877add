"""Lies beside a miniature's weights: the config class that neither transformers nor vLLM has.

A published checkpoint brings its own. This one keeps what config.json says: the language model's
part as an object of transformers, the tower's as plain attributes.
"""

from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig


class InternVisionConfig(PretrainedConfig):  # type: ignore[misc,no-untyped-call,unused-ignore]
    """The tower's numbers."""

    model_type = "intern_vit_6b"


class InternVLChatConfig(PretrainedConfig):  # type: ignore[misc,no-untyped-call,unused-ignore]
    """Tower and language model; `llm_config` is what the published configs call the latter."""

    model_type = "internvl_chat"
    has_no_defaults_at_init = True

    def __init__(self, vision_config: Any = None, llm_config: Any = None, **known: Any) -> None:
        self.vision_config = InternVisionConfig(**_plain(vision_config))
        text = _plain(llm_config)
        self.llm_config = CONFIG_MAPPING[text.get("model_type", "qwen2")](**text)
        super().__init__(**known)


def _plain(part: Any) -> dict[str, Any]:
    return dict(part) if isinstance(part, dict) else part.to_dict() if part is not None else {}
