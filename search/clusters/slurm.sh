#!/bin/bash
# A study on all nodes of a Slurm job, and on those of the next job where the time is up:
#
#   sbatch slurm.sh my-study.yaml
#
# Copy this file beside your study, and change what stands between the two lines below. Submit from a folder that all
# nodes share: the study lies in ./thermotune-runs there, or where THERMOTUNE_ROOT says (a shared folder, or s3://...).
# A study that is there already is continued, so that the same command also goes on after a crash or a cancelled job.
# A job does not go back into the queue when the budget of its study is used up.
# To end a job in order, saved and not queued again:  scancel --batch --signal=INT JOB
# ----------------------------------------------------------------------------------------------------------------------
#SBATCH --job-name=thermotune
#SBATCH --nodes=2
#SBATCH --cpus-per-task=8
##SBATCH --gpus-per-node=1
#SBATCH --time=04:00:00
# So many seconds before the time is up, the study is saved and the job goes back into the queue:
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
# A node that is lost does not end the job; its trials go on elsewhere:
#SBATCH --no-kill
#SBATCH --ntasks-per-node=1
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append

# source "$HOME/thermotune/.venv/bin/activate"    # whatever brings the commands thermotune and ray, on every node
# ----------------------------------------------------------------------------------------------------------------------
set -uo pipefail
study=${1:?a study file must be given: sbatch slurm.sh my-study.yaml}
cpus=${SLURM_CPUS_PER_TASK:?this must run in a job of Slurm: sbatch slurm.sh my-study.yaml}
name=$(thermotune validate "$study" --address auto --show | awk '$1 == "name" {print $2}') || exit

# Every job has a token, a port and a folder of its own: nobody else on these nodes can join or collide.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address_of() { getent ahostsv4 "$1" | awk 'NR == 1 {print $1}'; }
port=$((20000 + SLURM_JOB_ID % 6000))
head=$(address_of "${nodes[0]}"):$port
folder=/tmp/ray-$SLURM_JOB_ID
log=$SLURM_JOB_NAME-$SLURM_JOB_ID-ray.log

ray_on() { # NODE OPTIONS...: a node of Ray's, until the job ends
  srun --quiet --nodes=1 --ntasks=1 --nodelist="$1" --cpus-per-task="$cpus" --output="$log" --open-mode=append \
    ray start --block --node-ip-address="$(address_of "$1")" --num-cpus="$cpus" --temp-dir="$folder" \
    --dashboard-agent-listen-port=0 "${@:2}" &
}
leave() {
  jobs -p | xargs --no-run-if-empty kill
  wait
  srun --nodes="${#nodes[@]}" --ntasks-per-node=1 rm -rf "$folder"
}
out_of_budget() {
  thermotune status "$name" --address local --format json | grep '"last_end": "budget used up' >/dev/null
}
trap leave EXIT

ray_on "${nodes[0]}" --head --port="$port" --include-dashboard=false --ray-client-server-port="$((port + 6000))"
until (exec 3<>"/dev/tcp/${head/://}") 2>/dev/null; do
  kill -0 $! 2>/dev/null || { echo "slurm.sh: Ray must start on ${nodes[0]}, and did not: see $log" >&2; exit 1; }
  sleep 1
done
for node in "${nodes[@]:1}"; do ray_on "$node" --address="$head"; done

what=(submit "$study")
thermotune status "$name" --address local >/dev/null 2>&1 && what=(resume "$name")
thermotune "${what[@]}" --address "$head" &
driver=$!
signals=0 again=yes # the driver is told once: the second time it would end on the spot
trap '((signals++)) || kill -TERM "$driver"' TERM USR1
trap '((signals++)) || kill -TERM "$driver"; again=' INT
while
  before=$signals
  wait "$driver" # returns early where a signal comes in
  code=$?
  ((signals != before))
do :; done
trap '' TERM USR1 INT

trap - EXIT
leave
if [[ $code == 75 && -n $again ]] && ! out_of_budget; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
