"""Controllers read objects and write objects, one file each. They never touch the machine."""
