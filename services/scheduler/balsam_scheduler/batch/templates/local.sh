#!/bin/bash
{# A template (Jinja2) of what `balsam submit-launch` starts on this host; docs/batch.md names what may stand in it. #}
{{ environment }}
cd {{ site | sh }}

# Modules and variables that your jobs need go here.

# exec: signals for this script reach the launcher.
exec {{ launcher }} --time-limit-minutes={{ wall_minutes }}
