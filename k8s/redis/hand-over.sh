#!/bin/sh
# preStop of a server: if it is the master, another takes over before it goes, which costs the pods less than a failover
# that has to be noticed first. Never fails, and takes about half a minute at most.
own() {
    REDISCLI_AUTH=$REDIS_PASSWORD valkey-cli -h "$SELF" -p 6379 --no-auth-warning "$@" 2>/dev/null
}
sentinel() {
    host=$1
    shift
    REDISCLI_AUTH=$SENTINEL_PASSWORD timeout 2 valkey-cli -h "$host" -p 26379 --no-auth-warning SENTINEL "$@" 2>/dev/null
}
state=$(own INFO replication | tr -d '\r')
printf '%s\n' "$state" | grep -q '^role:master' || exit 0

# A Sentinel tells the replicas that it knows whom to follow now, and asks every ten seconds who they are. One that it does
# not know yet would go on following this server, which is a replica then: nobody would see it, or make it a master.
replicas=$(printf '%s\n' "$state" | sed -n 's/^connected_slaves://p')
informed=
until=$(($(date +%s) + 12))
while :; do
    for peer in $PEERS; do
        [ "$peer" != "$SELF" ] || continue
        known=$(sentinel "$peer" MASTER "$SERVICE" | sed -n '/^num-slaves$/{n;p;q;}')
        [ "${known:-0}" -lt "${replicas:-0}" ] || informed="$informed $peer"
    done
    [ -z "$informed" ] && [ "$(date +%s)" -lt "$until" ] || break
    sleep 1
done

# From here on nothing is acknowledged that the next master might not have; whoever waits asks that one.
own CLIENT PAUSE 15000 WRITE >/dev/null
chosen=
for peer in ${informed:-$PEERS}; do
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
