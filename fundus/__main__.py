"""``python -m fundus``: the command line, where its script is not on the search path."""

from fundus.cli import main

if __name__ == "__main__":
    main()
