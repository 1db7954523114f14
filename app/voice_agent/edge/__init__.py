"""The front that holds callers' sockets, and resumes their calls on other pods without their knowing.

::

    caller ══ CallerSocket ══ EdgeCall ══ PodSocket ══ load balancer ══ pod
                                 │
                                 ├── ClientLine: what the caller sent and no store has yet
                                 └── the number of the newest event that went to the caller
"""
