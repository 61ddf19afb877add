"""BLIP-2: a fixed number of queries reads each picture, and what they read is the prompt's."""
