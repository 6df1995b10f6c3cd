#!/bin/bash
# The official image's entry point in short: on an empty PGDATA make the cluster, the user and the database; then become
# the server. Variables: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_HOST_AUTH_METHOD,
# POSTGRES_INITDB_ARGS, PGDATA; scripts in /docker-entrypoint-initdb.d run once.
set -euo pipefail

[[ ${1:-} != -* ]] || set -- postgres "$@"
[[ ${1:-} == postgres ]] || exec "$@"

if [[ $(id -u) == 0 ]]; then
  # PostgreSQL refuses to run as root. PGDATA may be a fresh mount that still belongs to root.
  mkdir -p "$PGDATA" /var/run/postgresql
  chown -R postgres:postgres "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [[ ! -s $PGDATA/PG_VERSION ]]; then
  user=${POSTGRES_USER:-postgres}
  db=${POSTGRES_DB:-$user}
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [[ -z ${POSTGRES_PASSWORD:-} && $method != trust ]]; then
    echo 'Error: Database is uninitialized and superuser password is not specified: set POSTGRES_PASSWORD' >&2
    exit 1
  fi
  # --no-sync: what is being made here matters only once the server below has synced it at its own shutdown.
  # shellcheck disable=SC2086 # the variable holds several arguments
  initdb --no-sync --username="$user" ${POSTGRES_PASSWORD:+--pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD")} \
    ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

  # Only on the socket: nobody outside may mistake this server for the real one.
  pg_ctl -w start -o "-c listen_addresses='' -p 5432"
  [[ $db == postgres ]] || psql -v ON_ERROR_STOP=1 -U "$user" -d postgres --no-psqlrc -v db="$db" <<<'create database :"db";'
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) bash "$script" ;;
      *.sql) psql -v ON_ERROR_STOP=1 -U "$user" -d "$db" --no-psqlrc -f "$script" ;;
    esac
  done
  pg_ctl -w -m fast stop
  echo 'PostgreSQL init process complete; ready for start up.'
fi

# The configuration of a Debian initdb listens on localhost alone; an argument of the caller's comes later and wins.
shift
exec postgres -c listen_addresses='*' "$@"
