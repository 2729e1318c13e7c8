"""Why a job is not running: what is asked of the services, and what follows from it."""
