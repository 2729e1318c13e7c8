"""The classes and states under the names that scripts for Balsam 0.x import."""
