"""Experiments that put the pieces together."""
