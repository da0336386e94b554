"""`python -m soulwatch` is the command `soulwatch`."""

from soulwatch.cli import main

if __name__ == "__main__":
    main()
