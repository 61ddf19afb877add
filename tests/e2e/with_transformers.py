"""Loads checkpoints and adapters with transformers and PEFT alone, and prints what it saw as JSON.

Run as a program: argv[1] is {"picture": PNG file, "checkpoints": {name: {"path", "adapters": {name:
folder}}}}. The harness gives it nothing but torchvision's schemas, which this machine may need.
"""

import json
import sys
import warnings
from typing import Any

TOKENS = 16


def main(order: dict[str, Any]) -> dict[str, Any]:
    """Per checkpoint: the answer, its tokens, and each adapter's modules and effect (logprob)."""
    from mm_lora.inside import torchvision_schemas

    torchvision_schemas.declare()
    import torch
    import transformers
    from peft import PeftModel
    from PIL import Image

    auto: Any = transformers
    picture = Image.open(order["picture"])
    seen = {}
    for name, wanted in order["checkpoints"].items():
        model = auto.AutoModelForImageTextToText.from_pretrained(wanted["path"]).eval()
        processor = auto.AutoProcessor.from_pretrained(wanted["path"])
        parts = [{"type": "image"}, {"type": "text", "text": "Which numbers do the dice show?"}]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True
        )
        inputs = processor(text=prompt, images=[picture], return_tensors="pt")
        inputs["pixel_values"] = inputs["pixel_values"].float()  # the processor makes them bf16
        length = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            answer = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        inputs["input_ids"], inputs["attention_mask"] = answer, torch.ones_like(answer)

        def logprobs(one: Any, inputs: Any = inputs, length: int = length) -> Any:
            with torch.inference_mode():
                logits = one(**inputs, use_cache=False).logits[0, length - 1 : -1]
            every = logits.log_softmax(-1)
            assert every.isfinite().all()
            return every.gather(1, inputs["input_ids"][0, length:, None])

        base = logprobs(model)
        effects, modules = {}, {}
        for adapter, folder in wanted["adapters"].items():
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # PEFT only warns of keys that do not fit
                adapted = PeftModel.from_pretrained(model, folder)
            effects[adapter] = float((logprobs(adapted) - base).abs().max())
            modules[adapter] = sum(
                1 for path, _ in adapted.named_modules() if path.endswith("lora_A")
            )
            model = adapted.unload()
        seen[name] = {
            "prompt_tokens": length,
            "ids": answer[0, length:].tolist(),
            "text": processor.decode(answer[0, length:]),
            "vocabulary": [len(processor.tokenizer), model.config.text_config.vocab_size],
            "round_trip": processor.tokenizer.decode(processor.tokenizer.encode("Äß 骰子 red\n")),
            "effects": effects,
            "modules": modules,
        }
    return seen


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
