#!/usr/bin/env bash
# Makes the Dockerfile's base image without a registry: Debian 12 with its own Python 3.11, under the name that FROM asks
# for, in a container storage of the caller's.
#
# usage: base.sh STORAGE    needs root; prints nothing but errors; exit 3: the tools cannot be installed here
set -euo pipefail

storage=$1
name=docker.io/library/python:3.11-slim-bookworm
export DEBIAN_FRONTEND=noninteractive

packages=(podman buildah debootstrap runc netavark aardvark-dns iptables uidmap catatonit)
if ! dpkg --status "${packages[@]}" > /dev/null 2>&1; then
  apt-get update -qq && apt-get install -y -qq -o APT::Install-Recommends=false "${packages[@]}" > /dev/null || exit 3
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv bookworm "$root" > "$root.log" \
  || { tail -20 "$root.log" >&2; exit 1; }
rm "$root.log"

# What the official image has and Debian has not: `python`, and that pip may install for everyone. pip is Debian's own
# (23.0.1), older than the official image's.
ln -s python3 "$root/usr/bin/python"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists

tar --create --directory "$root" --one-file-system . \
  | podman --log-level error --root "$storage/root" --runroot "$storage/run" import --quiet \
      --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin' --change 'ENV LANG=C.UTF-8' \
      - "$name" > /dev/null
