"""Scorers: a pair, or a side of it, to a number.

What a scorer's author needs is :func:`side_scorer`, :func:`pair_scorer` and :func:`both_scorer`
(:mod:`shadowlane.evaluators.scorers.contract`); what runs them is :class:`ScorerSet`.
"""

from shadowlane.evaluators.scorers.contract import Unit, both_scorer, pair_scorer, side_scorer
from shadowlane.evaluators.scorers.scorer_set import Scored, ScorerSet, units
from shadowlane.schemas.events import Response

__all__ = ["Response", "Scored", "ScorerSet", "Unit", "both_scorer", "pair_scorer", "side_scorer", "units"]
