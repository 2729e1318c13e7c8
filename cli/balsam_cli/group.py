"""The commands there are. Imports nothing: `balsam --help` shows them before anything else is loaded."""

from __future__ import annotations

COMMANDS = {
    "Start": {
        "run": "Run one command as a job, from nothing.",
        "init": "Make a site.",
        "up": "Start the services of the site.",
        "down": "Stop the services of the site.",
        "status": "Show services, launchers and jobs.",
        "doctor": "Check the site, and name fixes.",
        "which": "Show the site in use, or all known ones.",
        "activate": "Print the shell lines that point a shell at a site.",
        "server": "Say who may use the site and from where; see who does, and who changed what.",
        "login": "Log in to a site of somebody else.",
    },
    "Jobs": {
        "app": "Register an application.",
        "job": "Add a job, or many.",
        "dep": "Make a job wait for another.",
        "mkchild": "Add a job that waits for the current one.",
        "make-dummies": "Add jobs that do nothing.",
        "modify": "Change fields of jobs or applications.",
        "rm": "Delete jobs or applications.",
        "kill": "Kill jobs.",
    },
    "Look": {
        "ls": "List jobs, applications, workflows or launches.",
        "show": "Show one job with its history.",
        "why": "Say why a job is not running, and what would start it.",
        "failures": "Show failed jobs by cause, and run those of one cause again.",
        "plot": "Draw throughput, nodes in use, states, times, errors, or a graph.",
        "plan": "Estimate when the jobs finish, and what that costs.",
        "web": "Serve a page that shows the campaign, live.",
        "logs": "Show the output of a job.",
        "log": "Show the logs of services and launchers.",
        "top": "Watch the site on the whole screen.",
    },
    "Move": {
        "export": "Write jobs with their history to a file.",
        "import": "Take jobs from a file.",
        "archive": "Move old jobs to a file.",
        "migrate-db": "Move the site to another database.",
    },
    "Work": {
        "launcher": "Run jobs, here and now.",
        "submit-launch": "Submit a launcher to the batch system.",
        "cancel": "Cancel batch launches.",
        "service": "Submit launches for the work there is, by a policy.",
        "completion": "Print the completion script of a shell.",
    },
}
"""Section of the help -> command -> what it does. The module of a command is `commands.NAME`, `-` written `_`."""

SUMMARIES = {name: text for section in COMMANDS.values() for name, text in section.items()}
"""Command -> what it does."""
OLD = {"killjob": "kill"}
"""Commands of Balsam 0.x, and what is written now. `_` for `-` is understood in all."""
