"""When the jobs would finish, and what that would cost."""
