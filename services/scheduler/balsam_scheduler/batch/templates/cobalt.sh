#!/bin/bash
{# A template (Jinja2) of what `balsam submit-launch` gives to qsub; docs/batch.md names what may stand in it. #}
{# Nodes, time, queue and project are options of qsub. #}

{{ environment }}
cd {{ site | sh }}

# Modules and variables that your jobs need go here.

# exec: signals for this script reach the launcher.
exec {{ launcher }} --time-limit-minutes={{ minutes_to_run }}
