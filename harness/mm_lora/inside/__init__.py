"""The only code that runs in the vLLM process; imports nothing of the rest of mm_lora."""
