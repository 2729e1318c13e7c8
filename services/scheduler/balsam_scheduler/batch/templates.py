"""Job templates (Jinja2): one for each batch system in the package, copies in the site, where users change them."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balsam.errors import SiteError
from balsam.site import ENV_SITE, Site, write_closed

if TYPE_CHECKING:
    from balsam_scheduler.batch.records import LaunchRecord

_SHIPPED = Path(__file__).parent / "templates"
_FIELDS = (
    *("launch_id", "nodes", "wall_minutes", "queue", "project", "job_mode", "wf_filter", "sched_flags"),
    *("prescheduled_only", "owner"),
)
"""Of a launch: those that say what is wanted."""
_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_TIMES_MARGIN = 3
"""A launch that is shorter than so many margins is not warned of its end: it would do little else."""


def find(site: Site, system: str) -> Path:
    """The template for a batch system: the site's, else the shipped one."""
    own = site.templates / f"{system}.sh"
    return own if own.exists() else _SHIPPED / f"{system}.sh"


def copy_to(site: Site) -> None:
    """Gives a site copies of all templates; those that it has stay as they are.

    Raises:
        OSError: they cannot be written.
    """
    site.templates.mkdir(mode=0o755, exist_ok=True)
    for shipped in sorted(_SHIPPED.glob("*.sh")):
        own = site.templates / shipped.name
        if not own.exists():
            write_closed(own, shipped.read_text())


def variables(site: Site, launch: LaunchRecord, name: str, output: Path) -> dict[str, Any]:
    """What a template may name.

    Args:
        site: the site.
        launch: the launch.
        name: name of its job.
        output: file that takes the output.
    """
    seconds, margin = launch.wall_minutes * 60, site.settings.stop_margin_seconds
    values = {field: getattr(launch, field) for field in _FIELDS}
    return values | {
        "site": str(site.path),
        "name": name,
        "output": str(output),
        "python": sys.executable,
        "hours_minutes": f"{launch.wall_minutes // 60:02d}:{launch.wall_minutes % 60:02d}",
        "warn_seconds": int(margin) if seconds >= _TIMES_MARGIN * margin else 0,
        "minutes_to_run": f"{max(seconds - margin, seconds / 2) / 60:g}",
        "environment": "\n".join(_exports(site, launch)),
        "launcher": shlex.join(launcher_words(launch)),
    }


def _exports(site: Site, launch: LaunchRecord) -> Iterator[str]:
    yield f"export {ENV_SITE}={shlex.quote(str(site.path))} BALSAM_LAUNCH_ID={launch.launch_id}"
    if site.run.parent != site.path:
        # Where the sockets of a site with a long path are; a batch job has no runtime directory, or another one.
        yield f"export XDG_RUNTIME_DIR={shlex.quote(str(site.run.parent))}"


def launcher_words(launch: LaunchRecord) -> list[str]:
    """The command of the launcher, of this installation."""
    which = [f"--wf-filter={launch.wf_filter}"] if launch.wf_filter else ["--consume-all"]
    # -P: nothing is imported from the directory that the script runs in.
    return [sys.executable, "-P", "-m", "balsam_cli", "launcher", f"--job-mode={launch.job_mode}", *which]


def render(template: Path, values: Mapping[str, Any]) -> str:
    """The script that a template gives.

    Raises:
        SiteError: it cannot be read or does not render; says in which line, and why.
    """
    import jinja2

    try:
        text = template.read_text()
    except OSError as error:
        raise SiteError(f"cannot read the job template {template}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SiteError(f"the job template {template} is not valid UTF-8") from None
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    try:
        code = environment.compile(text, name=template.name, filename=str(template))
        return jinja2.Template.from_code(environment, code, environment.make_globals(None)).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise _wrong(template, error.lineno, str(error.message)) from None
    except Exception as error:  # a template is a program: it may raise anything
        raise _wrong(template, _line_of(error, template), str(error) or type(error).__name__, values) from None


def _line_of(error: Exception, template: Path) -> int:
    """The line of a template in which an error arose; 0: not known."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(template):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _wrong(template: Path, line: int, why: str, values: Mapping[str, Any] | None = None) -> SiteError:
    where = f"{template}, line {line}" if line else str(template)
    return SiteError(f"the job template does not render: {where}: {why}{_hint(why, values or {})}")


def _hint(why: str, values: Mapping[str, Any]) -> str:
    import difflib

    undefined = _UNDEFINED.search(why)
    near = difflib.get_close_matches(undefined[1], values, n=1) if undefined else []
    if near:
        return f"; did you mean {near[0]!r}?"
    return "; docs/batch.md says what it may name" if undefined else ""
