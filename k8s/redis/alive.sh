#!/bin/sh
# Liveness of a server: it answers, and does not follow a replica. Sentinels know only those that follow the master itself,
# so one that began while they chose another may be left behind the old one: started again, it asks whom to follow.
set -eu
export REDISCLI_AUTH="$REDIS_PASSWORD"
ask() {
    timeout 2 valkey-cli -h "$1" -p 6379 --no-auth-warning INFO replication 2>/dev/null | tr -d '\r'
}
own=$(ask "$SELF")
case $own in
    *role:slave*) ;;
    *role:master*) exit 0 ;;
    *) exit 1 ;;
esac
followed=$(printf '%s\n' "$own" | sed -n 's/^master_host://p')
# One that does not answer may be gone: then the Sentinels choose, and a start now would help nobody.
case $(ask "$followed") in
    *role:slave*) echo "follows $followed, which is a replica itself" >&2; exit 1 ;;
esac
exit 0
