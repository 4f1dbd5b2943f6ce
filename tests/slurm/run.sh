#!/usr/bin/env bash
# Runs the smoke scale through profiles/slurm on a cluster of one machine, cancels a job and kills
# slurmd in the middle, and compares all tables and policies with those of a local run. By hand, as
# root, on a machine without a cluster, in an environment where metarl is installed; it takes minutes,
# less with targets of your own:
#   apt-get install -y slurmctld slurmd slurm-client munge && tests/slurm/run.sh [TARGET...]
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
# Not by SLURM_CONF: the executor keeps such variables from its jobs.
settings=/etc/slurm/slurm.conf
[ ! -e "$settings" ] || { echo "$settings is of a cluster; run this on another machine" >&2; exit 2; }
export PYTHONPATH=$repository/src
targets=("${@:-all}")
daemons=()

finish() {
  kill "${daemons[@]}" 2> /dev/null || true
  rm -f "$settings"
  echo "logs: $work"
}
trap finish EXIT

cat > "$settings" << END
ClusterName=one
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$work/munge/socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SlurmdTimeout=20
ReturnToService=2
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=16000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
mkdir -p "$work"/{state,spool,munge}
chmod 755 "$work" "$work/munge"
head --bytes=1024 /dev/urandom > "$work/munge/key"
chmod 400 "$work/munge/key"
munged --force --foreground --key-file "$work/munge/key" --socket "$work/munge/socket" \
  --pid-file "$work/munge/pid" --seed-file "$work/munge/seed" --log-file "$work/munge/log" > /dev/null 2>&1 &
daemons+=($!)
until munge --no-input --socket "$work/munge/socket" > /dev/null 2>&1; do sleep 0.2; done
slurmctld -D > /dev/null 2>&1 &
daemons+=($!)
slurmd -D > /dev/null 2>&1 &
slurmd=$!
until sinfo --noheader --format=%t 2> /dev/null | grep --quiet idle; do sleep 0.5; done

run() { # where, and how
  mkdir -p "$work/$1"
  (cd "$work/$1" && snakemake "${targets[@]}" --snakefile "$repository/Snakefile" \
    --configfile "$repository/config/smoke.yaml" "${@:2}" > "$work/$1.log" 2>&1)
}

run cluster --workflow-profile "$repository/profiles/slurm" --retries 3 \
  --slurm-init-seconds-before-status-checks 5 --latency-wait 5 &
snakemake=$!
until squeue --noheader --states=RUNNING --format=%i | grep --quiet .; do sleep 0.5; done
victim=$(squeue --noheader --states=RUNNING --format=%i | head -n 1)
echo "cancels job $victim"
scancel "$victim"
until squeue --noheader --states=RUNNING --format=%i | grep --quiet .; do sleep 0.5; done
echo "kills slurmd"
kill -KILL "$slurmd"
sleep 5
slurmd -D > /dev/null 2>&1 &
daemons+=($!)
wait "$snakemake"
squeue --states=all --format='%.4i %.12T %.10M %k'

run local --cores 2
for file in $(cd "$work/local" && find results -name '*.parquet' -o -name '*.npz'); do
  case $file in */checkpoints/*) continue ;; esac
  cmp "$work/local/$file" "$work/cluster/$file"
  echo "the same bytes: $file"
done
