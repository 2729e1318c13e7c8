"""Pictures of what happened on a real site."""

from tests.cli.conftest import balsam as balsam
