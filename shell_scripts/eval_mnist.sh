#!/usr/bin/env bash
# Figures of a model trained with configs/mnist.yml: ./eval_mnist.sh [model.pt] [flags of eval_all.py]
# The model's path starts where you are, those in flags at the repository.
set -euo pipefail
model=pretrained_models/mnist.pt
if [[ $# -gt 0 && $1 != -* ]]; then
    model=$(realpath -m -- "$1")
    shift
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python}" eval_all.py --model_path "$model" --temperature 1.0 --swapped_facet 0 \
    --first_n_clusters_swapped_1 10 --first_n_clusters_swapped_2 10 "$@"
