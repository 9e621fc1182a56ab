"""Backward passes other than the gradient's: how a method may change what an operation hands back.

Two engines, and neither touches a module. Rules that look only at signs change the graph that a pass has already made
(:mod:`~limelight.rules.rectifiers`): they cost nothing beyond a gradient. Rules that need an operation's input, weights
or answer to another image watch a pass while it runs (:mod:`~limelight.rules.watch`) and put their own backward in
place of autograd's: relevance (:mod:`~limelight.rules.relevance`), differences (:mod:`~limelight.rules.rescale`),
biases (:mod:`~limelight.rules.biases`). Both see functional calls (``F.relu``, ``x.relu_()``) as well as modules.
"""

from __future__ import annotations
