"""Several worker processes on one port of one machine, each a pod of its own in the fleet.

A parent that serves nobody forks the workers and starts again whichever dies::

    supervisor --fork--> worker 1 (pod blue-1) --unix socket--> worker 2 (pod blue-2)
        \\                    |                                      |
         \\--- table (shared memory): what each is doing, and whether the host is to drain

Every worker has a listening socket of its own on the shared port (SO_REUSEPORT), made by
the parent and open in all of them. So the kernel spreads connections evenly, and those
that wait in the queue of a worker that drains, is full or died are accepted by another.
"""
