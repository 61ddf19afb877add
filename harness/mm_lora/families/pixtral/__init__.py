"""Pixtral in Mistral's own format, which mistral-common reads."""
