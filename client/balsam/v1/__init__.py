"""Generated from protos/balsam/v1 by scripts/gen.sh; not edited by hand."""
