#!/usr/bin/env bash
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
# A run under SLURM that may be longer than its time: sbatch shell_scripts/slurm.sh --config_args_path configs/mnist.yml
# Two minutes before the end SLURM sends SIGUSR1; the run saves its state, and the same job is queued again.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
status=0
srun "${PYTHON:-python}" train.py "$@" || status=$?
if [ "$status" -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
