"""How good a number of facets and of clusters is, judged without labels.

Two clusterings are learned, each from one half of the images, and both cluster all of them. The value of a choice is

    sum_j sqrt(agreement_j) * explained * thrift,

high where many facets are found again in the other half, where together they tell what an image looks like, and where
no smaller vocabulary of clusters tells as much. Both halves see the truth through noise of their own, so what one of
them has in common with it is about the root of what they have in common with each other: the sum is an estimate of how
many facets of the truth were found, and a facet that is not found again adds nothing. docs/tune.md says how well the
value ranks choices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import NamedTuple

AS_MUCH = 0.02
"""A choice whose facets explain this much less of the variance still counts as explaining as much."""


class Judgement(NamedTuple):
    """What can be said of one choice; what is explained is measured on images that were not learned from."""

    explained: float
    """Share of the variance of the other half's images that a sum of one centre per facet explains."""
    agreement: list[float]
    """J numbers: AMI between the facets learned from one half and from the other, matched one to one, at least 0."""
    vocabulary: float
    """Sum over the facets of exp(entropy of its clusters): how many clusters there are, counted by their use."""


def average(judgements: Sequence[Judgement]) -> Judgement:
    """The mean of what several trials of one choice say, facet by facet."""
    agreements = zip(*(judged.agreement for judged in judgements), strict=True)
    return Judgement(
        mean(judged.explained for judged in judgements),
        [mean(of_facet) for of_facet in agreements],
        mean(judged.vocabulary for judged in judgements),
    )


def thrift(judged: Judgement, others: Iterable[Judgement]) -> float:
    """The smallest vocabulary that explains as much, over the own one: 1 for a choice that wastes nothing."""
    enough = [other.vocabulary for other in others if other.explained >= judged.explained - AS_MUCH]
    return min([judged.vocabulary, *enough]) / judged.vocabulary


def value(judged: Judgement, others: Iterable[Judgement]) -> float:
    """The criterion. others: the judgements of the other choices, which thrift is compared with."""
    return sum(map(math.sqrt, judged.agreement)) * judged.explained * thrift(judged, others)
