"""What is still to come on a real site."""

from tests.cli.conftest import balsam as balsam
