"""Jobs to and from files, and a site's database from one kind to another."""
