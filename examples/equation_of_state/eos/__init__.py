"""Equations of state of the fcc metals: the physics, the plan of the scans, and what is shown of them."""
