"""``python -m cosim``: the command line, where ``cosim`` itself is not on the path."""

from cosim.experiments.__main__ import main

if __name__ == "__main__":
    main()
