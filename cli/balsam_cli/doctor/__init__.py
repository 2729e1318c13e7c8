"""`balsam doctor`: what is well with a site and its host, what is not, and the command that mends it."""
