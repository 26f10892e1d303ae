#!/bin/bash
# One run of Llamarium on several machines under Slurm.
#
# NOT RUN: written from the manuals of Slurm and torchrun, no cluster was at hand. What it starts is tested with 2, 4 and 8
# processes on one machine (tests/train/test_group_training.py, tests/promises/test_p05_world_size.py).
#
#   sbatch recipes/cluster/slurm.sh recipes/mine.yaml [--set key=value ...]
#
# All machines need the same file system (the run's folder, the corpus) and a network that can be trusted: torch.distributed
# asks nobody who they are. Submitted again, or requeued, the run goes on where its newest valid checkpoint stands.

#SBATCH --job-name=llamarium
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --output=slurm-%j.log

set -euo pipefail

recipe=${1:?name a recipe: sbatch recipes/cluster/slurm.sh RECIPE}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# Two minutes before the time is up, Slurm sends SIGTERM to torchrun, which hands it on: all processes save and end. torchrun waits
# 30 seconds for them. A process that fails ends them all; torchrun is not to start them again (--max-restarts 0), the run says why.
srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_NNODES" \
    --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" \
    --max-restarts 0 \
    --rdzv-backend c10d \
    --rdzv-id "$SLURM_JOB_ID" \
    --rdzv-endpoint "$first:29500" \
    -m llamarium train "$recipe" --resume "${@:2}"
