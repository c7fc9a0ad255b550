"""How good a number of facets and of clusters is, judged without labels.

Two clusterings are learned, each from one half of the images, and both cluster all of them. The value of a choice is

    (sum_j sqrt(agreement_j * independence_j * explained_j))^2 * sum_j explained_j,

high where several facets are found again in the other half, tell different things, and tell much of what an image looks
like, each a part of it: J facets that are alike are worth J times as much as one that explains as much as all of them.
A facet that lacks one of the three adds nothing. docs/tune.md says how well the value ranks choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

AS_GOOD = 0.05
"""What is worth less than the best by no more than this share is as good: values differ by it on other halves."""
IDLE = 0.01
"""A facet of this share of all facets' worth adds nothing."""


class Judgement(NamedTuple):
    """What can be said of one choice, facet by facet: three lists of J numbers, none below 0."""

    agreement: list[float]
    """AMI between the facets learned from one half and from the other, matched one to one."""
    independence: list[float]
    """1 less the largest AMI with another facet of the same clustering."""
    explained: list[float]
    """Where a sum of one centre per facet predicts images that were not learned from: the covariance of the images and
    the facet's part of the sum, as a share of the variance of the images."""

    @property
    def worths(self) -> list[float]:
        """Of each facet."""
        facets = zip(self.agreement, self.independence, self.explained, strict=True)
        return [a * i * e for a, i, e in facets]

    @property
    def value(self) -> float:
        """The criterion."""
        return sum(map(math.sqrt, self.worths)) ** 2 * sum(self.explained)

    @property
    def idle(self) -> list[bool]:
        """Which facets add nothing."""
        return [worth <= IDLE * sum(self.worths) for worth in self.worths]


def average(judgements: Sequence[Judgement]) -> Judgement:
    """The mean of what several trials of one choice say, facet by facet."""
    lists = ([mean(numbers) for numbers in zip(*kind, strict=True)] for kind in zip(*judgements, strict=True))
    return Judgement(*lists)


def first(values: Sequence[float], n_clusters: Sequence[int]) -> int:
    """Which choice is taken: of those that are as good as the best the one of fewest clusters, n_clusters in all."""
    as_good = [i for i, value in enumerate(values) if value >= (1 - AS_GOOD) * max(values)]
    return min(as_good, key=lambda i: (n_clusters[i], -values[i]))
