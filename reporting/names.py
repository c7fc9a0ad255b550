"""Names that a reader of a page gave to facets and clusters, as the page exports them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from mfcvae import MFCVAE
from utils import UserError, check_is_file


@dataclass(frozen=True)
class _Cluster:
    cluster: int
    name: str = ""
    merged_into: int | None = None
    wrong: bool = False


@dataclass(frozen=True)
class _Facet:
    name: str
    clusters: list[_Cluster]


@dataclass(frozen=True)
class _File:
    format: Literal["mfcvae-names-1"]
    fingerprint: str
    facets: list[_Facet]


class FacetNames(NamedTuple):
    """What is said about the clusters of one facet."""

    name: str
    """Of the facet; empty where it was given none."""
    clusters: list[str]
    """(K,): of each cluster the name of the one that it stands for, 'cluster 3' where it was given none."""
    wrong: list[bool]
    """(K,): whether each cluster was marked wrong."""


def fingerprint(model: MFCVAE) -> str:
    """What tells this model's clusters from those of another: a checksum of the means of its mixtures."""
    means = [prior.mean.detach().cpu().numpy().tobytes() for prior in model.prior]
    return f"{zlib.crc32(b''.join(means)):08x}"


def read_names(path: Path, model: MFCVAE) -> list[FacetNames]:
    """Read an exported file of names.

    Raises:
        UserError: it cannot be read, is no such file, or holds names of another model.
    """
    check_is_file(path)
    try:
        file = TypeAdapter(_File).validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; export it from the page of the model") from None
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        raise UserError(f"{path}: no names as a page exports them: {place} {wrong['msg']}") from None
    if file.fingerprint != fingerprint(model) or len(file.facets) != len(model.prior):
        raise UserError(f"{path}: names of another model; export them from the page of this one (report.py)")
    sizes = [len(prior.mean) for prior in model.prior]
    return [_facet_names(facet, K, path) for facet, K in zip(file.facets, sizes, strict=True)]


def _facet_names(facet: _Facet, K: int, path: Path) -> FacetNames:
    given = {cluster.cluster: cluster for cluster in facet.clusters}
    targets = {cluster.merged_into for cluster in facet.clusters} - {None}
    if unknown := sorted(k for k in {*given, *targets} if k is not None and not 0 <= k < K):
        raise UserError(f"{path}: cluster {unknown[0]} is named, but the facet has clusters 0 to {K - 1}")
    stands_for = [_stands_for(given, k) for k in range(K)]
    names = [given[k].name if k in given and given[k].name else f"cluster {k}" for k in stands_for]
    return FacetNames(facet.name, names, [k in given and given[k].wrong for k in range(K)])


def _stands_for(given: dict[int, _Cluster], k: int) -> int:
    """The cluster that k was merged into, by way of others; a circle ends where it began."""
    seen = set[int]()
    while k in given and k not in seen:
        seen.add(k)
        target = given[k].merged_into
        if target is None:
            break
        k = target
    return k
