"""Trains a PEFT adapter on a checkpoint for a few real steps: argv[1] the checkpoint, argv[2] where
to save it, argv[3] PEFT's target_modules as a regular expression."""

import sys
from typing import Any

STEPS = 4


def main(checkpoint: str, target: str, modules: str) -> None:
    """Text alone and a picture, so that every part gets a gradient."""
    from mm_lora.inside import torchvision_schemas

    torchvision_schemas.declare()
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model
    from PIL import Image

    torch.manual_seed(0)
    auto: Any = transformers
    model = auto.AutoModelForImageTextToText.from_pretrained(checkpoint)
    processor = auto.AutoProcessor.from_pretrained(checkpoint)
    said = [{"type": "image"}, {"type": "text", "text": "What do the dice show?"}]
    chat = [{"role": "user", "content": said}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    picture = Image.effect_noise((112, 112), 90).convert("RGB")
    inputs = processor(text=prompt, images=[picture], return_tensors="pt")
    tuned: Any = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=modules))
    optimizer = torch.optim.SGD((p for p in tuned.parameters() if p.requires_grad), lr=30.0)
    for _ in range(STEPS):
        loss = tuned(**inputs, labels=inputs["input_ids"]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned.parameters(), 0.05)
        optimizer.step()
    tuned.save_pretrained(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
