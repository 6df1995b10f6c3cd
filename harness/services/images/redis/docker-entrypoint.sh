#!/bin/bash
# As in the official image: options alone mean redis-server, and the server does not run as root.
set -euo pipefail

[[ ${1:-} != -* && ${1:-} != *.conf ]] || set -- redis-server "$@"
[[ ${1:-} == redis-server ]] || exec "$@"
shift

# A configuration file, if there is one, has to stay the first argument.
conf=()
if [[ $# -gt 0 && $1 != -* ]]; then
  conf=("$1")
  shift
fi

run=()
if [[ $(id -u) == 0 ]]; then
  chown -R redis:redis .
  run=(setpriv --reuid=redis --regid=redis --init-groups)
fi
# The official image is compiled with protected mode off: without a password Redis would refuse everyone but itself.
# An option of the caller's comes later and wins.
exec "${run[@]}" redis-server "${conf[@]}" --protected-mode no "$@"
