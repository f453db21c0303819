"""The benchmark: every speed the project claims, beside a reference on the same machine in the same run."""
