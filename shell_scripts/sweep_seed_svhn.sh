#!/usr/bin/env bash
# Seeds 0 to 9 of configs/svhn.yml. Further flags, of start_sweep.py and train.py, are passed on; relative paths start at
# the repository. Run it again to resume.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python}" start_sweep.py --config_args_path configs/svhn.yml "$@"
