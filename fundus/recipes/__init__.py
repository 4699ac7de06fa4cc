"""Recipes: sets of values for a whole grader, and the grader that is made of the default one."""
