"""LFM2-VL: pictures as large as they are or cut into tiles, and a language model that convolves."""
