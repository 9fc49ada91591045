"""The figures that the pages quote, measured anew and compared."""
