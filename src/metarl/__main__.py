"""`python -m metarl` is `metarl`."""

from metarl.cli import main

if __name__ == "__main__":
    main()
