#!/bin/bash
{# A template (Jinja2) of what `balsam submit-launch` gives to flux batch; docs/batch.md names what may stand in it. #}
#flux: --nodes={{ nodes }}
#flux: --exclusive
#flux: --time-limit={{ wall_minutes }}m
{% if queue %}
#flux: --queue={{ queue }}
{% endif %}
{% if project %}
#flux: --bank={{ project }}
{% endif %}

{{ environment }}
cd {{ site | sh }}

# Modules and variables that your jobs need go here.

# exec: signals for this script reach the launcher.
exec {{ launcher }} --time-limit-minutes={{ minutes_to_run }}
