"""Report writers: pure functions of a Run, and the one place that puts files on disk."""
