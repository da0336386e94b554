"""What several kinds of tests share: a PostgreSQL, a sandbox world, real processes."""
