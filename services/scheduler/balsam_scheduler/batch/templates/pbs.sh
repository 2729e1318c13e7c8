#!/bin/bash
{# A template (Jinja2) of what `balsam submit-launch` gives to qsub; docs/batch.md names what may stand in it. #}
{# Torque, in place of `select` and `place`: -l nodes=... #}
#PBS -l select={{ nodes }}
#PBS -l place=scatter:excl
#PBS -l walltime={{ hours_minutes }}:00
{% if queue %}
#PBS -q {{ queue }}
{% endif %}
{% if project %}
#PBS -A {{ project }}
{% endif %}
#PBS -r n

{{ environment }}
cd {{ site | sh }}

# Modules and variables that your jobs need go here.

# exec: signals for this script reach the launcher.
exec {{ launcher }} --time-limit-minutes={{ minutes_to_run }}
