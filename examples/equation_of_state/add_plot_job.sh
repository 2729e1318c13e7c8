#!/bin/sh
# Post-processing of the universal curve: adds the job that draws the figure. Any program can add jobs this
# way: `balsam mkchild` makes a child of the job whose script it is called from.
set -eu
exec balsam mkchild --name plot --application plot --workflow equation-of-state \
    --input-files "eos_*.json universal.json" --description "E(V) and the universal curve, as PNG"
