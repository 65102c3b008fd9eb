FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock medallion.toml ./
COPY src src
COPY sql sql
COPY dbt_like_models dbt_like_models
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin medallion && install -D target/release/medallion /out/medallion

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home medallion
COPY --from=build /out/medallion /usr/local/bin/medallion
# The contracts, rules and models; mount a folder over /project to run one's own.
WORKDIR /project
COPY medallion.toml ./
COPY sql sql
COPY --chown=medallion dbt_like_models dbt_like_models
USER medallion
ENTRYPOINT ["medallion"]
