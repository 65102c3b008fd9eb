#!/usr/bin/env bash
# Puts Kafka, MinIO, its client and a Python with outside readers into the cache. Does nothing where they are already.
#
# Each lands in one rename, so an attempt that was cut short leaves nothing that a later one would trust, and a lock
# keeps two attempts apart. Building MinIO takes minutes; the rest takes seconds.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/versions.sh"

have() { command -v "$1" >/dev/null; }

engine_answers() { have docker && docker info >/dev/null 2>&1; }

fail() {
  echo "tests/stack: $*" >&2
  exit 3
}

# once FOLDER COMMAND...: runs the command with an empty folder as its last argument, which then becomes FOLDER.
once() {
  local folder=$1
  shift
  [[ ! -d $folder ]] || return 0
  echo "installing $(basename "$folder")"
  rm -rf "$cache/unfinished"
  mkdir "$cache/unfinished"
  "$@" "$cache/unfinished"
  mv "$cache/unfinished" "$folder"
}

# copy_from_image IMAGE PATH FOLDER
copy_from_image() {
  local container
  container=$(docker create "$1")
  docker cp "$container:$2" "$3"
  docker rm "$container" >/dev/null
}

fetch_kafka() {
  if have mvn; then
    mvn --quiet --batch-mode --file "$project/tests/stack/pom.xml" "-Dkafka.version=$KAFKA_VERSION" \
      dependency:copy-dependencies "-DoutputDirectory=$1"
  elif engine_answers; then
    copy_from_image "apache/kafka:$KAFKA_VERSION" /opt/kafka/libs/. "$1"
  else
    fail "Kafka comes through Maven (mvn) or a container engine; install one of them"
  fi
}

# fetch_minio PROGRAM VERSION FOLDER: builds minio or mc.
fetch_minio() {
  if have go; then
    CGO_ENABLED=0 GOBIN=$3 go install -trimpath -ldflags='-s -w' "github.com/minio/$1@$2"
  elif engine_answers; then
    docker build --quiet --tag medallion-minio "$project/minio"
    copy_from_image medallion-minio "/usr/local/bin/$1" "$3"
  else
    fail "MinIO is built with Go 1.24 or newer, or by a container engine; install one of them"
  fi
}

fetch_python() {
  python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${PYTHON_PACKAGES[@]}"
}

# Debian's packages, where they are missing and this user may install them.
install_packages() {
  local missing=()
  have java || missing+=(default-jre-headless)
  have mvn || engine_answers || missing+=(maven)
  have curl || missing+=(curl)
  have openssl || missing+=(openssl)
  { have cc && have make; } || missing+=(build-essential)
  have perl || missing+=(perl)
  python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
  ((${#missing[@]} > 0)) || return 0
  have apt-get || fail "please install what these Debian packages hold: ${missing[*]}"
  local sudo=()
  ((EUID == 0)) || sudo=(sudo --non-interactive)
  "${sudo[@]}" apt-get update --quiet
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "${missing[@]}"
}

mkdir -p "$cache"
exec {lock}>"$cache/lock"
flock "$lock"
install_packages
once "$kafka_folder" fetch_kafka
once "$python_folder" fetch_python
once "$mc_folder" fetch_minio mc "$MC_VERSION"
once "$minio_folder" fetch_minio minio "$MINIO_VERSION"
