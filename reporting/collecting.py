"""From a model and what it says about a split to the content of a page."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from evaluation.predictions import Observed
from mfcvae import MFCVAE
from reporting.arrays import Packed, rounded, whole
from reporting.atlases import SAMPLE, Encoding, Tiles, choose_encoding, make_tiles, thumbnails
from reporting.choosing import Chosen, choose_images
from reporting.clusters import cluster_facts
from reporting.curves import Rows, last_baselines, training_curves
from reporting.decoder import export_decoder
from reporting.maps import Map, Method, make_map
from reporting.names import fingerprint
from reporting.pictures import decoded_pictures
from reporting.summary import facet_facts, facts, measured, score_tables

MAX_LATENT_BYTES = 2_000_000
"""A byte for each dimension of each image; where dimensions are many, fewer images are shown."""


class Content(NamedTuple):
    """Everything that a page is made of."""

    facts: dict[str, Any]
    """Texts and numbers, as JSON."""
    arrays: list[Packed]
    tiles: dict[str, Tiles]
    """images: those of the split; decoded: what the model makes of clusters."""


def collect(observed: Observed, rows: Rows = (), method: Method = "pca") -> Content:
    """Collect what a page shows.

    Args:
        observed: a model and its predictions of a split.
        rows: the epochs that the run logged, if any.
        method: how latents become a map.
    """
    encoding = _encoding(observed)
    n_dims = sum(observed.config.z_j_dim_list)
    chosen = choose_images(observed, min(encoding.n_fitting, MAX_LATENT_BYTES // n_dims))
    maps = [make_map(means[chosen.shown], method) for means in observed.predictions.means]
    decoder, pictures = export_decoder(observed.model), decoded_pictures(observed)
    numbers = measured(observed)
    is_test = observed.split_name == "test"
    facets = [
        facet_facts(observed, numbers, j)
        | pictures.facets[j]
        | {"clusters": cluster_facts(observed, chosen, j), "unsure": chosen.unsure[j].tolist()}
        | _map_and_prior(observed.model, maps[j], j)
        for j in range(observed.config.J_n_mixtures)
    ]
    page = {
        "name": observed.config.name,
        "fingerprint": fingerprint(observed.model),
        "split": observed.split_name,
        "n_images": len(observed.split),
        "n_shown": len(chosen.shown),
        "size": list(observed.spec.image_shape),
        "facts": facts(observed, int(rows[-1]["epoch"]) if rows else None),
        "labels": _labels(observed),
        "scores": score_tables(observed, numbers, last_baselines(rows) if is_test else {}),
        "curves": training_curves(rows),
        "facets": facets,
        "pairs": pictures.pairs,
        "names": _names(observed, chosen),
        "decoder": decoder and decoder.plan,
    }
    tiles = {"images": _image_tiles(observed, chosen, encoding), "decoded": pictures.tiles}
    return Content(page, _image_arrays(observed, chosen, maps) + (decoder.arrays if decoder else []), tiles)


def _encoding(observed: Observed) -> Encoding:
    index = np.random.default_rng(0).permutation(len(observed.split))[:SAMPLE]
    return choose_encoding(thumbnails(observed.split.images[index.tolist()]), len(observed.split))


def _image_tiles(observed: Observed, chosen: Chosen, encoding: Encoding) -> Tiles:
    images, index = observed.split.images, chosen.shown
    return make_tiles(lambda rows: thumbnails(images[index[rows].tolist()]), len(index), encoding.quality)


def _image_arrays(observed: Observed, chosen: Chosen, maps: list[Map]) -> list[Packed]:
    """What the page knows of every image, (n, ...) each."""
    predictions, index = observed.predictions, chosen.shown
    labels = np.column_stack([np.empty((len(index), 0), np.int64), *(y[index] for y in observed.labels.values())])
    arrays = [
        whole("index", index),
        whole("clusters", predictions.clusters[index]),
        Packed("confidences", np.rint(predictions.confidences[index] * 65535).astype(np.uint16), 0.0, 1 / 65535),
        whole("labels", labels),
    ]
    for j, (found, means) in enumerate(zip(maps, predictions.means, strict=True)):
        arrays += [rounded(f"map_{j}", found.points, np.uint16), rounded(f"latents_{j}", means[index], np.uint8)]
        if found.images is not None:
            arrays.append(whole(f"map_images_{j}", found.images))
    return arrays


def _map_and_prior(model: MFCVAE, found: Map, j: int) -> dict[str, Any]:
    """What the map of facet j is; means and standard deviations of its clusters, (K, D) each."""
    components = model.prior[j].components()
    means, spread = components.mean.detach().cpu().numpy(), components.stddev.detach().cpu().numpy()
    prior = {"prior_means": means.round(4).tolist(), "prior_spread": spread.round(4).tolist()}
    return prior | {"map": found.words, "is_map_sampled": found.images is not None}


def _labels(observed: Observed) -> list[dict[str, Any]]:
    spec = observed.spec
    return [{"name": n, "classes": list(c)} for n, c in zip(spec.label_names, spec.class_names, strict=True)]


def _names(observed: Observed, chosen: Chosen) -> list[str] | None:
    names = observed.split.names
    return [names[i] for i in chosen.shown] if names else None
