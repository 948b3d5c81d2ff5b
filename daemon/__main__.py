"""`python -m daemon` is `classifyd`."""

from daemon.cli import main

if __name__ == "__main__":
    main()
