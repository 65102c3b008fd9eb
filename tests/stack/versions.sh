# shellcheck shell=bash
# Which versions the tests and benches run against, and where they are kept. Source it from any directory.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${MEDALLION_CACHE:-$HOME/.cache/medallion}

# Where rustup and Go install themselves, for a shell that read no profile.
PATH=$PATH:$HOME/.cargo/bin:/usr/local/go/bin

# The servers are those that docker-compose.yml deploys.
KAFKA_VERSION=$(sed -n 's|.*image: apache/kafka:||p' "$project/docker-compose.yml")
MINIO_VERSION=$(sed -n 's|^ARG MINIO_VERSION=||p' "$project/minio/Dockerfile")
MC_VERSION=$(sed -n 's|^ARG MC_VERSION=||p' "$project/minio/Dockerfile")

# Readers and writers that share no code with us, save librdkafka.
PYTHON_PACKAGES=(deltalake==1.6.6 duckdb==2.0.0 pyarrow==26.0.1 confluent-kafka==2.16.1)
# What reads the artifacts of dbt.
PYTHON_PACKAGES+=(dbt-artifacts-parser==0.15.0)
# What reads the metrics, the rules and the manifests of deploy/.
PYTHON_PACKAGES+=(prometheus-client==0.26.0 PyYAML==6.0.3 kubernetes-validate==1.37.0)

# A changed version is a new folder: an old checkout and a new one can share the cache.
fingerprint() { cksum | cut -d ' ' -f 1; }
kafka_folder=$cache/kafka-$KAFKA_VERSION-$(fingerprint <"$project/tests/stack/pom.xml")
minio_folder=$cache/minio-$MINIO_VERSION
mc_folder=$cache/mc-$MC_VERSION
python_folder=$cache/python-$(fingerprint <<<"${PYTHON_PACKAGES[*]}")
