"""Benchmarks: what `fundus` and its alternatives cost on the same images, backbone and folds."""
