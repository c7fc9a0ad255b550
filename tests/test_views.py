"""Images that are no sums of parts are taken apart by views; sums are preferred where images are sums."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score
from test_factorial import agreement, parts

from factorial.clustering import factorial_clustering
from factorial.fitting import codes_of
from factorial.gain import cloud_like, gain, gain_of_sums
from factorial.views import FIGURE, SCENE, ViewFeatures, figure_scales, figure_views, fit_views, scene_views


def figures(n: int, n_channels: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Figures of three shapes in four inks on two grounds: images (n, C, 12, 12) uint8, what each is of (n, 3)."""
    rng = np.random.default_rng(seed)
    shapes, inks, grounds = rng.random((3, 12, 12)) < 0.5, rng.random((4, n_channels)), rng.random((2, n_channels))
    shapes[:, [0, -1]] = shapes[:, :, [0, -1]] = False
    codes = np.stack([rng.integers(0, k, n) for k in (3, 4, 2)], axis=1)
    shape, ink, ground = shapes[codes[:, 0]][:, None], inks[codes[:, 1]], grounds[codes[:, 2]]
    images = np.where(shape, ink[:, :, None, None], ground[:, :, None, None])
    return np.rint(255 * images).astype(np.uint8), codes


def lit(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Three patterns in two tints, lit from faintly to brightly: images (n, 3, 16, 16) uint8, what each is of (n, 3)."""
    rng = np.random.default_rng(1)
    patterns = rng.uniform(0.3, 1, (3, 1, 16, 16))
    tints = np.array([[1, 0.4, 0.4], [0.4, 0.4, 1]])[:, :, None, None]
    codes = np.stack([rng.integers(0, k, n) for k in (3, 2, 3)], axis=1)
    light = np.array([0.1, 0.3, 0.9])[codes[:, 2]] * rng.uniform(0.9, 1.1, n)
    images = patterns[codes[:, 0]] * tints[codes[:, 1]] * light[:, None, None, None]
    return np.rint(255 * images).astype(np.uint8), codes


# --- views


def test_a_figure_is_told_by_its_mask_its_ink_and_its_ground():
    ground, ink = np.array([0.2, 0.8, 0.4]), np.array([0.9, 0.1, 0.5])
    drawn = np.zeros((6, 5))
    drawn[1:4, 2] = 1
    image = ground[:, None, None] + drawn * (ink - ground)[:, None, None]
    mask, found_ink, found_ground = figure_views(image[None]).values()
    assert mask == pytest.approx(drawn.reshape(1, -1), abs=0.01)
    assert found_ink == pytest.approx(ink[None], abs=0.01) and found_ground == pytest.approx(ground[None])


def test_a_figure_of_nothing_has_views():
    mask, ink, ground = figure_views(np.full((2, 3, 4, 4), 0.5, np.float32)).values()
    assert (mask == 0).all() and (ink == 0.5).all() and (ground == 0.5).all()


def test_scales_tell_by_how_much_pixels_change_with_each_view():
    images, _ = figures(50)
    views = figure_views(images / 255)

    def drawn(mask, ink, ground):
        return ground[:, :, None] + mask[:, None] * (ink - ground)[:, :, None]

    for v, scale in enumerate(figure_scales(views)):
        moved = [view.astype(float) for view in views.values()]
        moved[v][:, 0] += 1e-3
        change = (drawn(*moved) - drawn(*views.values())) / 1e-3  # (N, C, H W)
        assert np.sqrt((change**2).sum(axis=(1, 2)).mean()) == pytest.approx(scale, rel=0.01)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_scene_in_less_light_has_another_light_alone(n_channels):
    bright = np.random.default_rng(0).uniform(0.4, 1, (20, n_channels, 16, 16)).astype(np.float32)
    views, darker = (list(scene_views(light * bright).values()) for light in (1, 0.6))
    assert len(views) == (3 if n_channels == 3 else 2)
    for view, dark in zip(views[:-1], darker[:-1], strict=True):
        assert np.corrcoef(view.ravel(), dark.ravel())[0, 1] > 0.98
    assert darker[-1] == pytest.approx(views[-1] + np.log(0.6), abs=0.05)


@pytest.mark.parametrize("size", [(1, 4), (4, 1), (2, 2), (64, 48)])
def test_images_of_any_size_have_views(size):
    images = np.random.default_rng(0).random((6, 3, *size)).astype(np.float32)
    for kind in (FIGURE, SCENE):
        assert all(np.isfinite(view).all() and len(view) == 6 for view in kind.look(images).values())


# --- the gain


def test_the_gain_is_the_logarithm_of_what_is_left_by_chance_over_what_is_left():
    assert gain(np.e**2, np.e) == pytest.approx(1)
    assert gain(0, 0) == 0


def test_clusters_gain_and_a_cloud_does_not():
    rng = np.random.default_rng(0)
    f = rng.normal(size=(600, 4)).astype(np.float32) * [3, 2, 1, 1]
    centres = [np.array([[-5.0, 0, 0, 0], [5, 0, 0, 0]], np.float32)]
    apart = centres[0][rng.integers(0, 2, 600)] + 0.3 * cloud_like(f, rng)
    assert gain_of_sums(apart, centres, rng) > 0.5
    assert abs(gain_of_sums(f, [np.array([[-2.4, 0, 0, 0], [2.4, 0, 0, 0]], np.float32)], rng)) < 0.1


# --- clusterings


def test_each_facet_clusters_a_view_of_its_own_with_its_number_of_clusters():
    images, true = figures(400)
    features = ViewFeatures(FIGURE, images / np.float32(255), seed=0)
    found = fit_views(features.apart(images / np.float32(255)), [4, 2, 3], True, np.random.default_rng(0))
    codes = codes_of(features(images.reshape(400, -1) / np.float32(255)), found.centres)
    assert found.gain > 1 and [features.names[v] for v in found.order] == ["ink", "ground", "mask"]
    for code, label in zip(codes.T, (true[:, 1], true[:, 2], true[:, 0]), strict=True):
        assert adjusted_mutual_info_score(label, code) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_figures_are_taken_apart(n_channels, monkeypatch):
    monkeypatch.setattr("factorial.clustering.N_STARTS", 3)
    images, true = figures(600, n_channels)
    found = factorial_clustering(images[:500], [3, 4, 2], seed=0)
    assert agreement(found.predict(images[500:]), true[500:]).max(axis=1) == pytest.approx(1, abs=1e-6)
    assert "views of a figure" in found.subject


def test_images_of_three_colours_are_no_figures():
    images, codes = figures(300)
    assert ViewFeatures(FIGURE, images / np.float32(255), seed=0).are_told
    framed = images.copy()
    framed[:, :, 0] = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])[codes[:, 0]][:, :, None]
    framed[:, :, -1, :] = framed[:, :, :, 0] = framed[:, :, :, -1] = framed[:, :, 0]
    assert not ViewFeatures(FIGURE, framed / np.float32(255), seed=0).are_told


def test_some_facet_sees_the_mask():
    """Ink and ground are as good as exact here, and the mask is noise: it is looked at nevertheless."""
    rng = np.random.default_rng(0)
    mask, ink, ground = rng.normal(size=(200, 5)), *rng.integers(0, 2, (2, 200, 1)).astype(float)
    found = fit_views([mask, ink, ground], [2, 2], True, rng)
    assert 0 in found.order and sorted(bool(m[:, :5].any()) for m in found.centres) == [False, True]


@pytest.mark.parametrize("n_clusters", [[3, 2, 3], [2, 3]])
def test_the_light_on_a_scene_is_seen_last(n_clusters):
    images, true = lit(300)
    features = ViewFeatures(SCENE, images / np.float32(255), seed=0)
    f = features.apart(images / np.float32(255))
    found = fit_views(f, n_clusters, SCENE.any_others, np.random.default_rng(0))
    codes = codes_of(np.concatenate(f, axis=1), found.centres)
    assert agreement(codes, true).max(axis=0)[: len(n_clusters)].min() > 0.9


def test_sums_are_no_views(monkeypatch):
    monkeypatch.setattr("factorial.clustering.N_STARTS", 3)
    images, _ = parts(400, [3, 3])
    assert factorial_clustering(images, [3, 3], seed=0).subject == "parts that add up"
