#!/bin/sh
# Starts Valkey with the users of redis-users.acl, their passwords taken from the environment: start.sh FOLDER COMMAND…
# FOLDER has redis.conf and redis-users.acl; the file with the passwords goes to USERS_FILE, which should lie in memory.
set -eu
umask 077

folder=$1
shift
for name in WORKER READER; do
    eval "password=\${REDIS_${name}_PASSWORD:?}"
    # What else could end up in an ACL rule of its own, or in sed's expression.
    case $password in *[!A-Za-z0-9_-]*)
        echo "REDIS_${name}_PASSWORD is not allowed: letters, digits, hyphens and underscores" >&2
        exit 2
        ;;
    esac
done
sed -e "s/>CHANGE-THE-WORKER-PASSWORD/>$REDIS_WORKER_PASSWORD/" \
    -e "s/>CHANGE-THE-READER-PASSWORD/>$REDIS_READER_PASSWORD/" "$folder/redis-users.acl" >"$USERS_FILE"
exec "$@" "$folder/redis.conf" --aclfile "$USERS_FILE"
