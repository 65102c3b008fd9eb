#!/bin/sh
# Makes the bucket `lakehouse` and one user a role, each with the policy of this folder that has its name. May be run
# again at any time: it brings policies and secrets up to date and touches no data.
#
# Takes MINIO_ENDPOINT, MINIO_ROOT_USER, MINIO_ROOT_PASSWORD, INGEST_SECRET_KEY, CARE_SECRET_KEY, BUILD_SECRET_KEY and
# SERVE_SECRET_KEY from the environment, and from MC the path of MinIO's client if it is not on PATH. Secrets go through standard input,
# never through arguments, which any process can read.
set -eu

: "${MINIO_ENDPOINT:?}" "${MINIO_ROOT_USER:?}" "${MINIO_ROOT_PASSWORD:?}"
: "${INGEST_SECRET_KEY:?}" "${CARE_SECRET_KEY:?}" "${BUILD_SECRET_KEY:?}" "${SERVE_SECRET_KEY:?}"
folder=$(dirname "$0")

# The client's notes of servers and secrets stay out of the home directory, and go when this ends.
MC_CONFIG_DIR=$(mktemp -d)
export MC_CONFIG_DIR
trap 'rm -rf "$MC_CONFIG_DIR"' EXIT

mc() { "${MC:-mc}" --quiet "$@"; }

# add_role NAME SECRET
add_role() {
  mc admin policy create lake "$1" "$folder/$1.json"
  printf '%s\n%s\n' "$1" "$2" | mc admin user add lake
  if ! answer=$(mc admin policy attach lake "$1" --user "$1" 2>&1); then
    case $answer in
      *"already in effect"*) ;;
      *) echo "$answer" >&2 && exit 1 ;;
    esac
  fi
}

printf '%s\n%s\n' "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" | mc alias set lake "$MINIO_ENDPOINT"
mc mb --ignore-existing lake/lakehouse
add_role ingest "$INGEST_SECRET_KEY"
add_role care "$CARE_SECRET_KEY"
add_role build "$BUILD_SECRET_KEY"
add_role serve "$SERVE_SECRET_KEY"
