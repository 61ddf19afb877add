"""The independent truth: builder and reference, in a process with torch."""
