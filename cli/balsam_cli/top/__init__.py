"""`balsam top`: a site on the whole screen, as it changes."""
