#!/bin/bash
#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue

# Command: sbatch examples/cluster/slurm.sh [FOLDER], from the root of the checkout.
# FOLDER lies on a disk that all nodes see. A node that fails ends the job; sent again,
# it goes on from the state in FOLDER.

set -euo pipefail
FOLDER="${1:-saved_models/cluster}"
HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
export FOLDER HOSTS

# one task a node; $SLURM_NODEID and $HOSTS are read there: single quotes
srun --kill-on-bad-exit=1 bash -euc '
    TF_CONFIG=$(python examples/cluster/tf_config.py "$SLURM_NODEID" $HOSTS)
    export TF_CONFIG  # on a line of its own: else a failure above would go unseen
    python examples/cluster/train.py "$FOLDER"
'
