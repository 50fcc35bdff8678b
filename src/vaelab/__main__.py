"""The command `vaelab`, started as a module."""

from vaelab.commands import main

if __name__ == "__main__":
    main()
