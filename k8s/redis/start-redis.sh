#!/bin/sh
# Starts this pod's server as what it should be: a replica of the master that the other Sentinels name; if none
# answers, what it was when it stopped; and on its first day, with nobody to ask, a replica of the first pod.
set -eu
umask 077
own=$DATA/redis.conf
master=$(sh "$SCRIPTS/who-is-master.sh")

# The master of full replicas, but with an empty disk: they would copy the emptiness. They choose another within seconds.
waited=0
while [ "$master" = "$SELF" ] && [ ! -d "$DATA/appendonlydir" ] && [ "$waited" -lt 60 ]; do
    sleep 1
    waited=$((waited + 1))
    master=$(sh "$SCRIPTS/who-is-master.sh")
done

if [ -z "$master" ]; then
    if [ -f "$own" ]; then
        # Failovers rewrite this file: the last line of its kind is what was true.
        master=$(sed -n 's/^replicaof "\{0,1\}\([^" ]*\)"\{0,1\} .*/\1/p' "$own" | tail -n 1)
    else
        master=${PEERS%% *}
    fi
fi

cat >"$own.new" <<END
include $SCRIPTS/redis.conf
dir $DATA
port 6379
${BIND:+bind $BIND}
replica-announce-ip $SELF
requirepass $REDIS_PASSWORD
masterauth $REDIS_PASSWORD
END
if [ -n "$master" ] && [ "$master" != "$SELF" ]; then
    echo "replicaof $master 6379" >>"$own.new"
fi
mv "$own.new" "$own"
exec valkey-server "$own"
