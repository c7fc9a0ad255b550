#!/usr/bin/env bash
# Figures of a model of a published configuration: ./eval.sh NAME [model.pt] [flags of eval_all.py]
# The model's path starts where you are, those in flags at the repository.
set -euo pipefail
name=${1:?the name of a configuration, for example mnist}
shift
model=pretrained_models/$name.pt
if [[ $# -gt 0 && $1 != -* ]]; then
    model=$(realpath -m -- "$1")
    shift
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python}" eval_all.py --model_path "$model" --published "$name" "$@"
