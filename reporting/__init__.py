"""The page of a run: what is collected of a model and its images, and how it becomes one HTML file (docs/report.md)."""
