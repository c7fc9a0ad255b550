"""Files and what is in memory become plain arrays: published sets, own images; for datasets, predict, the estimator."""
