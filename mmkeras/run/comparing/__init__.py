"""`mmkeras compare`: every simple method and the chosen fusions on the same rows."""
