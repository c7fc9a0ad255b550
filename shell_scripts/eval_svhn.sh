#!/usr/bin/env bash
# Figures of a model trained with configs/svhn.yml: ./eval_svhn.sh model.pt [flags of eval_all.py]
# The model's path starts where you are, those in flags at the repository.
set -euo pipefail
model=pretrained_models/svhn.pt
if [[ $# -gt 0 && $1 != -* ]]; then
    model=$(realpath -m -- "$1")
    shift
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python}" eval_all.py --model_path "$model" --temperature 0.3 --swapped_facet 1 \
    --first_n_clusters_swapped_1 10 --first_n_clusters_swapped_2 10 "$@"
