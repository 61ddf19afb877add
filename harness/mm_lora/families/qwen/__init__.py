"""What Qwen's vision families share: arithmetic, miniature, tokens and the torch side."""
