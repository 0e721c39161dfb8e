"""`python -m service.cli`: the `amity` command without its script."""

from service.cli.main import main

main()
