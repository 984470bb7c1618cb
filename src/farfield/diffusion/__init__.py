"""Noise levels, denoisers, solvers and closed forms: the coordinate everything else is written in."""
