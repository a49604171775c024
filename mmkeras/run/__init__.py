"""The jobs behind the command line: recipe, train, report, demo."""
