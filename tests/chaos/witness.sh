# A run or a script that trusts no clock: it holds the lock of its job's file while it lives, and writes down when it
# begins, when it ends, and when it finds the lock taken.
#
#   sh witness.sh PART SECONDS [CODE [FAILURES [DETACHED [PYTHON]]]]
#
# Ends with CODE after SECONDS; its first FAILURES ends that are written down have code 1. DETACHED = 1: leaves a process
# of another session behind, which holds the lock as well. The part `handle` moves its job on, if it is called to.

part=$1 seconds=$2 code=${3:-0} failures=${4:-0} detached=${5:-0} python=$6
file=${0%/*}/witness/$BALSAM_JOB_ID

exec 9>>"$file"
flock -n 9 || echo "overlap $part $BALSAM_ATTEMPT" >&9
echo "begin $part $BALSAM_ATTEMPT" >&9

if [ "$failures" -gt 0 ] && [ "$(grep -c '^end run [0-9]* 1$' "$file")" -lt "$failures" ]; then
    code=1
fi
if [ "$detached" = 1 ]; then
    setsid sleep 30 &
fi
sleep "$seconds"
if [ "$part" = handle ] && [ "$BALSAM_JOB_ERROR$BALSAM_JOB_TIMEOUT" != "" ]; then
    "$python" "${0%/*}/handle.py" || code=$?
fi
echo "end $part $BALSAM_ATTEMPT $code" >&9
exit "$code"
