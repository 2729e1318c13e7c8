#!/bin/bash
{# A template (Jinja2) of what `balsam submit-launch` gives to bsub; docs/batch.md names what may stand in it. #}
{# With jsrun, in place of -n and -R: -nnodes ... #}
#BSUB -n {{ nodes }}
#BSUB -R "span[ptile=1]"
#BSUB -x
#BSUB -W {{ hours_minutes }}
{% if queue %}
#BSUB -q {{ queue }}
{% endif %}
{% if project %}
#BSUB -P {{ project }}
{% endif %}
#BSUB -rn

{{ environment }}
cd {{ site | sh }}

# Modules and variables that your jobs need go here.

# exec: signals for this script reach the launcher.
exec {{ launcher }} --time-limit-minutes={{ minutes_to_run }}
