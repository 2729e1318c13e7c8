"""`balsam web`: a campaign in the browser, served on loopback to the person who started it."""
