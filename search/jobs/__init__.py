"""Running a study as a job of a Ray cluster, seen from a client: what is sent, and how the job is followed."""
