#!/usr/bin/env bash
# Puts HAProxy, Prometheus and promtool beside the venv's programs, from Debian's packages and without root.
# A program that is on the PATH already is left alone. Usage: deploy/fetch-tools.sh .venv
set -euo pipefail

venv=$(cd "${1:?the venv to put the programs into}" && pwd)
kept=$venv/debian
declare -A package=([haproxy]=haproxy [prometheus]=prometheus [promtool]=prometheus)
declare -A path=([haproxy]=usr/sbin/haproxy [prometheus]=usr/bin/prometheus [promtool]=usr/bin/promtool)
libraries=(liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libpcre2-8-0 libsystemd0)

PATH=$PATH:/usr/sbin
missing=()
for program in "${!package[@]}"; do
    command -v "$program" >/dev/null || [ -x "$venv/bin/$program" ] || missing+=("$program")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Please install ${missing[*]} with your package manager: this machine has no apt-get." >&2
    exit 1
fi

apt=(apt-get -qq -o APT::Sandbox::User=root)
fetch() { (cd "$kept/packages" && "${apt[@]}" "$@" download "${wanted[@]}") >/dev/null; }

mkdir -p "$kept/packages" "$kept/lists/partial" "$kept/cache/archives/partial"
wanted=()
for program in "${missing[@]}"; do
    [[ " ${wanted[*]} " == *" ${package[$program]} "* ]] || wanted+=("${package[$program]}")
done
[[ " ${wanted[*]} " != *" haproxy "* ]] || wanted+=("${libraries[@]}")
if ! fetch 2>/dev/null; then
    # Without the machine's lists of packages: fetch lists of our own.
    own=(-o "Dir::State::lists=$kept/lists" -o "Dir::Cache=$kept/cache")
    "${apt[@]}" "${own[@]}" update >/dev/null
    fetch "${own[@]}"
fi
for file in "$kept"/packages/*.deb; do
    dpkg-deb -x "$file" "$kept"
done
rm -rf "$kept/packages" "$kept/lists" "$kept/cache"

libs=$(find "$kept" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
for program in "${missing[@]}"; do
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libs" "$kept/${path[$program]}" >"$venv/bin/$program"
    chmod +x "$venv/bin/$program"
done
echo "Fetched without root: ${missing[*]}."
