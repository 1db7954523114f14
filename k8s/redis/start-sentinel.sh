#!/bin/sh
# Starts this pod's Sentinel. What it has learnt is in its own file, which it rewrites, and outlives the pod.
set -eu
umask 077
own=$DATA/sentinel.conf

if [ ! -f "$own" ]; then
    # `sentinel monitor` wants a name that resolves, and a pod's name does so only once the pod is up. And while the others
    # choose a new master, the old one is not to be believed in.
    tries=0
    while :; do
        master=$(sh "$SCRIPTS/who-is-master.sh")
        master=${master:-${PEERS%% *}}
        if REDISCLI_AUTH=$REDIS_PASSWORD valkey-cli -h "$master" -p 6379 --no-auth-warning PING >/dev/null 2>&1; then
            break
        fi
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || { echo "the master $master does not answer" >&2; exit 1; }
        sleep 1
    done
    cat "$SCRIPTS/sentinel.conf" - >"$own.new" <<END
dir $DATA
port 26379
${BIND:+bind $BIND}
requirepass $SENTINEL_PASSWORD
sentinel sentinel-pass $SENTINEL_PASSWORD
sentinel announce-ip $SELF
sentinel announce-port 26379
sentinel monitor $SERVICE $master 6379 2
sentinel auth-pass $SERVICE $REDIS_PASSWORD
sentinel down-after-milliseconds $SERVICE 1000
sentinel failover-timeout $SERVICE 4000
sentinel parallel-syncs $SERVICE 1
END
    mv "$own.new" "$own"
fi
exec valkey-server "$own" --sentinel
