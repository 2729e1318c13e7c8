# handled_post.sh PYTHON HANDLER: after every run. One that ended well needs no handler.

[ -z "$BALSAM_JOB_TIMEOUT$BALSAM_JOB_ERROR" ] || exec "$@"
