# What CI runs, and its parts. `just` lists them.

default:
    @just --list

# Everything that CI runs.
check:
    bash .ci/run

# Format, in place.
format:
    cargo fmt --all

# Lints, warnings denied.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# The tests, installing what they need.
test *args:
    ./test {{args}}

# A server with a webhook of its own, an event, and its delivery.
demo:
    cargo run --release -- demo

# Speed and memory, measured on this machine.
bench *args:
    cargo run --release -- bench {{args}}

# Writes generated references anew: docs/openapi.json, docs/cli.md, snapshots.
generate:
    UPDATE_SNAPSHOTS=1 INSTA_UPDATE=always cargo nextest run --workspace
