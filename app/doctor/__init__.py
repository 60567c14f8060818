"""`context8 doctor`: is everything there that a deployment needs, and if not, what to do.

Each check asks the real thing, changes nothing, and answers with findings. It never raises for what it looks for.
"""
