"""SmolVLM and Idefics3."""
