"""``python -m fundus.cli``."""

from fundus.cli import main

if __name__ == "__main__":
    main()
