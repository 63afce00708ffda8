"""Planners and controllers at work in an environment: closed-loop rollouts, recipes that record data.

`control.collect` records Maze2D streams with the waypoint controller of `control.waypoints`. Modules are
imported by name, so that recording data loads no network.
"""
