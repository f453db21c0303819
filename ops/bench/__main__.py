"""`python -m ops.bench`."""

from ops.bench.run import main

main()
