#!/usr/bin/env bash
# Train with configs/svhn.yml. Further flags are passed on; relative paths start at the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python}" train.py --config_args_path configs/svhn.yml "$@"
