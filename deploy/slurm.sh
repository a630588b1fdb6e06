#!/bin/bash
# A Ray cluster over the nodes of a Slurm job, and one fedskin command on it; docs/cluster.md:
#
#   sbatch deploy/slurm.sh campaign run task2-federated.toml --out /shared/task2 …
#
# Run with a stand-in for srun, never on a Slurm cluster.
#SBATCH --job-name=fedskin
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
# For GPUs:
##SBATCH --gpus-per-node=1
set -eu

# Slurm runs this script on the first node of the job, and ends all that it started.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
RAY_AUTH_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_worker_niceness=0 RAY_memory_monitor_refresh_ms=0

ray start --head --port=6379 --num-cpus="$SLURM_CPUS_PER_TASK" \
  --include-dashboard=false --disable-usage-stats
others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
  # srun does not take the job's --cpus-per-task over.
  srun --nodes="$others" --ntasks="$others" --exclude="$first" \
    --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    ray start --block --address="$first:6379" --num-cpus="$SLURM_CPUS_PER_TASK" \
    --disable-usage-stats &
fi
# fedskin takes the machines that are there when it starts.
python3 - "$SLURM_JOB_NUM_NODES" <<'PYTHON'
import sys, time, ray
ray.init(address="auto", log_to_driver=False)
for _ in range(300):
    if sum(node["Alive"] for node in ray.nodes()) == int(sys.argv[1]):
        sys.exit()
    time.sleep(1)
sys.exit("not all nodes started Ray within five minutes")
PYTHON
fedskin "$@" --ray-address auto
