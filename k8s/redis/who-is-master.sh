#!/bin/sh
# Prints the host that the newest configuration among the other pods' Sentinels calls the master; nothing if none of them
# has answered after $TRIES rounds (5 by default). To believe too soon that nobody is there would make a second master.
# $PEERS: hosts of all pods, $SELF: this one, $SERVICE: the master's name, $SENTINEL_PASSWORD.
newest=-1
master=
round=0
while [ -z "$master" ] && [ "$round" -lt "${TRIES:-5}" ]; do
    [ "$round" -eq 0 ] || sleep 1
    round=$((round + 1))
    for peer in $PEERS; do
        [ "$peer" != "$SELF" ] || continue
        state=$(REDISCLI_AUTH=$SENTINEL_PASSWORD timeout 5 \
            valkey-cli -h "$peer" -p 26379 --no-auth-warning SENTINEL MASTER "$SERVICE" 2>/dev/null) || continue
        # Names and values on lines of their own.
        epoch=$(printf '%s\n' "$state" | sed -n '/^config-epoch$/{n;p;q;}')
        host=$(printf '%s\n' "$state" | sed -n '/^ip$/{n;p;q;}')
        if [ -n "$host" ] && [ "${epoch:--1}" -gt "$newest" ]; then
            newest=$epoch
            master=$host
        fi
    done
done
printf '%s\n' "$master"
