"""Data sets: folders and tables of photographs, what users pass as ``X``, synthetic ones."""
