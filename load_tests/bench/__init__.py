"""Benchmarks: `devkit.benchmarks` lists those of `./dev bench`; the others are programs of their own, and say how they are run."""
