"""How the bundled model is made. It needs a checkout: nothing here is shipped."""
