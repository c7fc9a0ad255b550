"""The estimator, on top of train.py's training. Every flag of train.py may be among its `settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from datasets import Split
from evaluation.decoding import reconstruct, sample_images, swap_facet
from evaluation.figures import top_examples
from evaluation.predictions import Observed, Predictions, predict, predict_with_terms, responsibilities
from load_model import START_OF_MODEL, load_model_from_save_dict, save_model
from multi_facet_clustering.checks import (
    checked_facet,
    checked_latents,
    checked_n_images,
    checked_path,
    checked_sampling,
    drawn_seed,
    held_clusters,
    in_one_line,
)
from multi_facet_clustering.images import as_shown, images_of_shape, images_to_train_on
from multi_facet_clustering.run import config_of_run
from readers.disk_images import Images, as_images
from reporting.opening import write_report
from tracking.run_folder import read_metrics
from train import INTERRUPTED, train
from utils import UserError, check_replaceable, make_folder, preserved_random_state, resolve_device


class MultiFacetClustering(ClusterMixin, TransformerMixin, BaseEstimator):
    """Several clusterings of the same images at once, without labels.

    Images are a NumPy array or torch tensor, (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats in [0, 1]; a list
    of Pillow's pictures; the path of a folder of pictures, or of an .npz as train.py reads it.

    After `fit` there are `labels_` (N, J) int, the cluster of every image in every facet; `history_`, the numbers of
    every epoch by their logged names; `model_` and `config_`, what other modules of this project work with.

    What is not named below is as in configs/folder.yml, unless `settings` says otherwise.

    Args:
        n_facets: J, the number of clusterings.
        n_clusters: K_j, of all facets or of each; some may stay empty.
        n_latents: D_j, the latent dimensions of all facets or of each; None is 10 for facet 0 and 5 for the last.
        n_epochs: of training; the first one only evaluates.
        batch_size: images in a step.
        learning_rate: of Adam.
        image_size: pixels a side to which images are cropped and resized; None keeps arrays as they are, and is 32
            for pictures.
        image_shape: the shape of an image where X has flat rows.
        device: auto, cpu, cuda, cuda:N or mps.
        random_state: a seed, a generator of NumPy, or None for another result every time.
        run_dir: folder of the run, as train.py keeps it; the same fit goes on where it stopped. None keeps nothing.
        settings: any other setting of train.py by its name, {"model_type": "conv_vlae"}; it wins over those above.
        verbose: show a bar over the epochs and the scores at the end.
    """

    def __init__(
        self,
        n_facets: int = 2,
        n_clusters: int | Sequence[int] = 25,
        n_latents: int | Sequence[int] | None = None,
        *,
        n_epochs: int = 101,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        image_size: int | None = None,
        image_shape: Sequence[int] | None = None,
        device: str = "auto",
        random_state: Any = 0,
        run_dir: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        verbose: bool = True,
    ):
        self.n_facets = n_facets
        self.n_clusters = n_clusters
        self.n_latents = n_latents
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.image_size = image_size
        self.image_shape = image_shape
        self.device = device
        self.random_state = random_state
        self.run_dir = run_dir
        self.settings = settings
        self.verbose = verbose

    # --- training

    @in_one_line
    def fit(self, X: Any, y: Any = None) -> MultiFacetClustering:
        """Train on 80 percent of the images; the others are the test split of the scores in `history_`.

        X: images. y: labels that only the scores look at, (N,), (N, L) or a table; those of a folder or .npz are in it.

        Raises:
            InputError: images, labels or settings that will not do.
            KeyboardInterrupt: training was stopped; with a run_dir the same call goes on.
        """
        with TemporaryDirectory() as kept_for_now:
            run = checked_path(self.run_dir or Path(kept_for_now) / "not_kept", "run_dir").absolute()
            config = config_of_run(self, X, run)
            own = images_to_train_on(X, y, config, self.image_shape)
            with preserved_random_state():
                status = train(config, own, is_kept=self.run_dir is not None)
            if status == INTERRUPTED:
                raise KeyboardInterrupt
            self._take_model(run / "save_dict.pt")
            self.history_ = read_metrics(run / "metrics.jsonl")
        self.labels_ = self._predicted(as_images(own.images)).clusters
        return self

    def _take_model(self, path: str | Path) -> None:
        """Load a trained model, by which this estimator is fitted."""
        self.model_, self.config_ = load_model_from_save_dict(path, resolve_device(self.device))
        self.n_features_in_ = int(np.prod(self.model_.spec.image_shape))

    # --- what the model says about images

    @in_one_line
    def predict(self, X: Any) -> np.ndarray:
        """The cluster of every image in every facet: (N, J) int."""
        return self._predicted(self._images(X)).clusters

    @in_one_line
    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """The probability of every cluster of every facet, q(c_j | x): J arrays (N, K_j)."""
        means = self._predicted(self._images(X)).means
        return responsibilities(self.model_, means)

    @in_one_line
    def transform(self, X: Any) -> np.ndarray:
        """The latents of every image, the means m_j(x) of all facets side by side: (N, D_0 + D_1 + ...)."""
        return np.concatenate(self._predicted(self._images(X)).means, axis=1)

    @in_one_line
    def score(self, X: Any, y: Any = None) -> float:
        """The mean over the images of the evidence lower bound, in nats; higher is better. y is not looked at."""
        images = self._images(X)
        _, terms = predict_with_terms(self.model_, images, None, self.config_.eval_batch_size)
        return -terms["loss"]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the columns of `transform`."""
        check_is_fitted(self, "model_")
        dims = enumerate(self.config_.z_j_dim_list)
        return np.array([f"facet_{j}_z_{d}" for j, D in dims for d in range(D)], dtype=object)

    def _predicted(self, images: Images) -> Predictions:
        """What the model says about images (N, C, H, W) uint8."""
        return predict(self.model_, images, None, self.config_.eval_batch_size)

    def _images(self, X: Any) -> Tensor:
        """Images as the model takes them: (N, C, H, W) uint8."""
        check_is_fitted(self, "model_")
        return images_of_shape(X, self.model_.spec.image_shape, self.config_, self.image_shape)

    # --- images from latents

    @in_one_line
    def decode(self, Z: Any) -> np.ndarray:
        """The images of latents as `transform` gives them: (N, H, W) or (N, H, W, 3) floats in [0, 1]."""
        check_is_fitted(self, "model_")
        return as_shown(reconstruct(self.model_, checked_latents(Z, self.config_.z_j_dim_list)))

    inverse_transform = decode

    @in_one_line
    def swap(self, X_1: Any, X_2: Any, facet: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """What becomes of pairs of images that exchange a facet, as `decode` gives them: of X_1, and of X_2."""
        first, second = (self._predicted(self._images(X)).means for X in (X_1, X_2))
        if len(first[0]) != len(second[0]):
            raise UserError(f"X_1 has {len(first[0])} images and X_2 {len(second[0])}; give pairs")
        swapped = swap_facet(first, second, checked_facet(facet, self.config_.n_clusters_j_list))
        images_1, images_2 = (as_shown(reconstruct(self.model_, means)) for means in swapped)
        return images_1, images_2

    @in_one_line
    def sample(
        self,
        n_samples: int = 1,
        clusters: Mapping[int, int] | None = None,
        temperature: float = 1.0,
        random_state: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """New images, as `decode` gives them, and the clusters (n_samples, J) that they are drawn from.

        Args:
            n_samples: how many.
            clusters: facet -> the cluster that it is held at; the others are drawn by their weights pi.
            temperature: factor on the standard deviation of p(z | c).
            random_state: a seed; None is that of the estimator.
        """
        check_is_fitted(self, "model_")
        seed = self.config_.seed if random_state is None else drawn_seed(random_state)
        sampling = checked_sampling(n_samples, temperature, seed)
        held = held_clusters(clusters or {}, self.config_.n_clusters_j_list, sampling.n)
        images, drawn = sample_images(self.model_, held, sampling)
        return as_shown(images), drawn

    @in_one_line
    def figure(self, X: Any, facet: int = 0, n_images: int = 10) -> Figure:
        """A row per cluster of a facet with its most confident images of X."""
        n_shown, observed = checked_n_images(n_images), self._observed(X)
        return top_examples(observed, checked_facet(facet, self.config_.n_clusters_j_list), n_shown)

    @in_one_line
    def report(self, X: Any, path: str | Path = "report.html") -> Path:
        """Write a page of HTML to look at facets, clusters and images of X, and to play with (docs/report.md)."""
        page = checked_path(path, "path")
        make_folder(page.absolute().parent)
        write_report(self._observed(X), page, getattr(self, "history_", ()))
        return page

    def _observed(self, X: Any) -> Observed:
        """What the model says about images without labels."""
        images = self._images(X)
        spec = replace(self.model_.spec, label_names=(), class_names=())
        split = Split(images, torch.empty(len(images), 0, dtype=torch.long))
        return Observed(self.model_, self.config_, spec, split, None, self._predicted(images))

    # --- files

    @in_one_line
    def save(self, path: str | Path) -> None:
        """Write the model to a file, which the scripts read, too."""
        check_is_fitted(self, "model_")
        file = checked_path(path, "path")
        make_folder(file.absolute().parent)
        check_replaceable(file, "a model", START_OF_MODEL)
        save_model(self.model_, self.config_, file)

    @classmethod
    @in_one_line
    def load(cls, path: str | Path, device: str = "auto") -> MultiFacetClustering:
        """A fitted estimator of a model: of `save`, of a run's save_dict.pt, or a published checkpoint."""
        estimator = cls(device=device)
        estimator._take_model(checked_path(path, "path"))
        config = estimator.config_
        return estimator.set_params(
            n_facets=config.J_n_mixtures,
            n_clusters=config.n_clusters_j_list,
            n_latents=config.z_j_dim_list,
            n_epochs=config.n_epochs,
            batch_size=config.batch_size,
            learning_rate=config.init_lr,
            random_state=config.seed,
        )

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of estimators: X is images, not a table."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags
