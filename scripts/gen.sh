#!/usr/bin/env bash
# Generates client/balsam/v1 from protos/, with pinned tools in an environment
# of their own: code of the 1.63 series imports on every newer runtime, that of
# a newer one does not import on older runtimes.
#
#   scripts/gen.sh          write client/balsam/v1
#   scripts/gen.sh --check  fail if what is checked in is not current
set -euo pipefail
cd "$(dirname "$0")/.."

if [ ! -x .venv-gen/bin/buf ]; then
    python3 -m venv .venv-gen
    .venv-gen/bin/pip install --quiet 'grpcio-tools==1.63.2' 'mypy-protobuf==3.6.0' 'setuptools<80' 'buf-bin>=1.69'
fi

out=client
if [ "${1:-}" = --check ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi

(cd protos && ../.venv-gen/bin/buf lint)
PATH="$PWD/.venv-gen/bin:$PATH" .venv-gen/bin/python -m grpc_tools.protoc -I protos \
    --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" \
    protos/balsam/v1/*.proto
# A file without a service has no stubs worth keeping.
find "$out/balsam/v1" -name '*_pb2_grpc.py*' | while read -r file; do
    case "$file" in *_service_pb2_grpc.py*) ;; *) rm -f "$file" ;; esac
done
echo '"""Generated from protos/balsam/v1 by scripts/gen.sh; not edited by hand."""' > "$out/balsam/v1/__init__.py"

if [ "${1:-}" = --check ]; then
    diff -r -x __pycache__ "$out/balsam/v1" client/balsam/v1 ||
        { echo "client/balsam/v1 is not what protos/ say: run make gen" >&2; exit 1; }
fi
