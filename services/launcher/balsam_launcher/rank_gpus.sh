#!/bin/sh
# Starts one rank of an MPI run with the GPUs that are its own.
#
#   rank_gpus.sh RANK_VARIABLES VARIABLES GPUS WIDTH SHARING RANKS COMMAND [WORD]...
#
# RANK_VARIABLES  names of variables; the first that is set tells which rank this is on its node, or among all
# VARIABLES       names of the variables that tell a program of its GPUs
# GPUS            ids of the run's GPUs on each node
# WIDTH           how many of them each rank has
# SHARING         how many ranks, neighbours, share these
# RANKS           ranks on each node
# Lists are separated by commas.
rank_variables=$1 variables=$2 gpus=$3 width=$4 sharing=$5 ranks=$6
shift 6
set -f
IFS=,
rank=
for name in $rank_variables; do
    eval "rank=\${$name-}"
    [ -z "$rank" ] || break
done
case $rank in
'' | *[!0-9]*)
    echo "balsam: no GPU can be assigned: none of $rank_variables tells which rank this is" >&2
    exit 126
    ;;
esac
first=$((rank % ranks / sharing * width)) number=0 mine=
for gpu in $gpus; do
    if [ "$number" -ge "$first" ] && [ "$number" -lt $((first + width)) ]; then
        mine=${mine:+$mine,}$gpu
    fi
    number=$((number + 1))
done
for name in $variables; do
    export "$name=$mine"
done
unset IFS
exec "$@"
