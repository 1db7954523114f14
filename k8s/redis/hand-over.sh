#!/bin/sh
# preStop of a server: if it is the master, another takes over before it goes, which costs the pods less than a failover
# that has to be noticed first. Never fails, and takes about 15 s at most.
own() {
    REDISCLI_AUTH=$REDIS_PASSWORD valkey-cli -h "$SELF" -p 6379 --no-auth-warning "$@" 2>/dev/null
}
sentinel() {
    host=$1
    shift
    REDISCLI_AUTH=$SENTINEL_PASSWORD timeout 2 valkey-cli -h "$host" -p 26379 --no-auth-warning SENTINEL "$@" 2>/dev/null
}
own INFO replication | grep -q '^role:master' || exit 0

# From here on nothing is acknowledged that the next master might not have; whoever waits asks that one.
own CLIENT PAUSE 15000 WRITE >/dev/null
chosen=
for peer in $PEERS; do
    [ "$peer" != "$SELF" ] || continue
    if [ "$(sentinel "$peer" FAILOVER "$SERVICE")" = OK ]; then
        chosen=$peer
        break
    fi
done
if [ -z "$chosen" ]; then
    own CLIENT UNPAUSE >/dev/null
    exit 0
fi
tries=0
# This server is told itself only some ten seconds later, and need not be.
while [ "$tries" -lt 12 ]; do
    named=$(sentinel "$chosen" GET-MASTER-ADDR-BY-NAME "$SERVICE" | head -n 1)
    [ -z "$named" ] || [ "$named" = "$SELF" ] || break
    tries=$((tries + 1))
    sleep 1
done
exit 0
