"""A fitted model behind an HTTP interface and a page, for ``fundus serve``.

Its files need the extra ``serve``; `fundus.serving.extra` says so where it is missing.
"""
