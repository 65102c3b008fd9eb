# shellcheck shell=bash
# Real Kafka and real MinIO on free loopback ports, for tests and benches. Run install.sh, source this file, then
#
#     trap stop_all EXIT
#     start_kafka
#     start_minio
#
# Each run has a folder of its own, MEDALLION_TEST_STACK, with the data, NAME.log and NAME.pid of its servers: runs
# beside each other do not meet, and a test may end a server by its pid and start it again. stop_all ends the process
# that NAME.pid names by then, if it is one of this run, and removes the folder.

source "$(dirname "${BASH_SOURCE[0]}")/versions.sh"

export MEDALLION_TEST_STACK
MEDALLION_TEST_STACK=$(mktemp -d "${TMPDIR:-/tmp}/medallion-stack.XXXXXX")

# Ports below the range from which the kernel serves outgoing connections, so that none of those takes one in between.
free_ports() {
  python3 - "$1" <<'PYTHON'
import random, socket, sys

found = []
while len(found) < int(sys.argv[1]):
    port = random.randrange(15000, 32000)
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
    if port not in found:
        found.append(port)
print(*found)
PYTHON
}

# start_server NAME READY COMMAND...: returns once the server has logged the text READY. Should this shell be killed
# outright, the kernel ends the server too.
start_server() {
  local name=$1 ready=$2 log=$MEDALLION_TEST_STACK/$1.log
  shift 2
  : >"$log"
  setpriv --pdeathsig KILL "$@" </dev/null >"$log" 2>&1 &
  local pid=$!
  disown "$pid"
  echo "$pid" >"$MEDALLION_TEST_STACK/$name.pid"
  for _ in {1..600}; do
    if grep --quiet "$ready" "$log"; then return 0; fi
    if ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.2
  done
  stop_server "$name"
  return 1
}

# with_ports NAME COUNT COMMAND: calls COMMAND with that many free ports, and with others should somebody be quicker.
with_ports() {
  local name=$1 count=$2 command=$3 ports
  for _ in 1 2 3; do
    read -ra ports <<<"$(free_ports "$count")"
    if "$command" "${ports[@]}"; then return 0; fi
  done
  echo "$name did not start; the end of its log:" >&2
  tail --lines 30 "$MEDALLION_TEST_STACK/$name.log" >&2
  return 3
}

start_kafka() {
  with_ports kafka 2 start_kafka_on
  export MEDALLION_TEST_KAFKA_TOOLS=$kafka_folder
}

start_kafka_on() {
  local port=$1 controller=$2 folder=$MEDALLION_TEST_STACK
  rm -rf "$folder/kafka"
  cat >"$folder/kafka.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
log.dirs=$folder/kafka
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
PROPERTIES
  java -cp "$kafka_folder/*" kafka.tools.StorageTool format \
    --cluster-id AAAAAAAAAAAAAAAAAAAAAA --config "$folder/kafka.properties" >"$folder/kafka.log" 2>&1 || return
  start_server kafka 'Kafka Server started' \
    java -Xmx1g "-Dlog4j2.configurationFile=$project/tests/stack/log4j2.properties" \
    -cp "$kafka_folder/*" kafka.Kafka "$folder/kafka.properties" || return
  export MEDALLION_TEST_KAFKA=127.0.0.1:$port
}

start_minio() {
  unset AWS_SESSION_TOKEN AWS_PROFILE
  export AWS_ACCESS_KEY_ID=root AWS_SECRET_ACCESS_KEY
  AWS_SECRET_ACCESS_KEY=$(python3 -c 'import secrets; print(secrets.token_hex(20))')
  with_ports minio 1 start_minio_on
  export MEDALLION_TEST_MC=$mc_folder/mc MEDALLION_TEST_MINIO=$minio_folder/minio
}

start_minio_on() {
  start_server minio '^API: ' \
    env MINIO_ROOT_USER="$AWS_ACCESS_KEY_ID" MINIO_ROOT_PASSWORD="$AWS_SECRET_ACCESS_KEY" MINIO_BROWSER=off \
    "$minio_folder/minio" server "$MEDALLION_TEST_STACK/minio" --address "127.0.0.1:$1" || return
  export MEDALLION_TEST_S3_ENDPOINT=http://127.0.0.1:$1
}

# Every server names the run's folder in its arguments: a pid that was given to another process since is left alone.
is_ours() { grep --quiet --fixed-strings --text "$MEDALLION_TEST_STACK/" "/proc/$1/cmdline" 2>/dev/null; }

stop_server() {
  local pid
  pid=$(cat "$MEDALLION_TEST_STACK/$1.pid" 2>/dev/null) || return 0
  while is_ours "$pid"; do
    kill -KILL "$pid" 2>/dev/null || true
    sleep 0.05
  done
}

stop_all() {
  stop_server kafka
  stop_server minio
  rm -rf "$MEDALLION_TEST_STACK"
}
