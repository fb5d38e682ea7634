"""Build the nano model: ``python -m recipes.nano``; see ``build``."""

from recipes.nano.build import main

if __name__ == "__main__":
    main()
