"""One file a platform: the request that runs a search there, and how it is sent.

A request is plain JSON in the platform's own words, so that it can be printed, read, changed, kept in git and sent by
the platform's own command-line tool. The platforms' clients are extras, imported when something is sent.
"""
