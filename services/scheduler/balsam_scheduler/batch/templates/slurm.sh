#!/bin/bash
{# A template (Jinja2) of what `balsam submit-launch` gives to sbatch; docs/batch.md names what may stand in it. #}
#SBATCH --nodes={{ nodes }}
#SBATCH --time={{ wall_minutes }}
{% if queue %}
#SBATCH --partition={{ queue }}
{% endif %}
{% if project %}
#SBATCH --account={{ project }}
{% endif %}
#SBATCH --exclusive
{# The loss of a node must not end the others, and a launch is not run twice. #}
#SBATCH --no-kill
#SBATCH --no-requeue
{% if warn_seconds %}
#SBATCH --signal=B:USR1@{{ warn_seconds }}
{% endif %}

{{ environment }}
cd {{ site | sh }}

# Modules and variables that your jobs need go here.

# exec: signals for this script reach the launcher.
exec {{ launcher }}
