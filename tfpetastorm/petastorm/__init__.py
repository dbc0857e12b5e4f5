"""Petastorm's module names, so that its users change an import and nothing else.

`tfpetastorm.predicates` is found here, as `petastorm.predicates` was there: the package's path ends in this folder.
These modules hand out what lives in the other folders, and say by an error what replaces the little that is gone.
"""
