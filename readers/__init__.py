"""Your own images: a folder, single files or an .npz become plain arrays; `datasets.py` and `predict.py` use it."""
