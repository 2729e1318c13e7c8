"""`dag` and `futures`: what scripts, running applications and drivers of campaigns use."""
