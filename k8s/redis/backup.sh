#!/bin/sh
# Copies what a replica has to $BACKUPS, or what the master has where there is no replica, and keeps the last $KEEP copies.
set -eu
umask 077
export REDISCLI_AUTH="$REDIS_PASSWORD"
chosen=
for peer in $PEERS; do
    told=$(timeout 5 valkey-cli -h "$peer" -p 6379 --no-auth-warning INFO replication 2>/dev/null) || continue
    case $told in
        *role:slave*master_link_status:up*) chosen=$peer; break ;;
        *role:master*) chosen=${chosen:-$peer} ;;
    esac
done
[ -n "$chosen" ] || { echo "no server answers" >&2; exit 1; }

copy=$BACKUPS/voice-$(date -u +%Y%m%dT%H%M%SZ).rdb
valkey-cli -h "$chosen" -p 6379 --no-auth-warning --rdb "$copy.part" >/dev/null
# A copy that was cut off has no such end.
[ "$(head -c 5 "$copy.part")" = REDIS ] || [ "$(head -c 6 "$copy.part")" = VALKEY ] || {
    echo "$chosen sent something that is no snapshot" >&2
    exit 1
}
mv "$copy.part" "$copy"
# The names sort by time.
ls "$BACKUPS"/voice-*.rdb | sort -r | tail -n "+$((KEEP + 1))" | while read -r old; do rm -f "$old"; done
echo "copied $chosen to $copy"
