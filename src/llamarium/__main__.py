"""``python -m llamarium``."""

from llamarium.cli.main import main

if __name__ == "__main__":
    main()
