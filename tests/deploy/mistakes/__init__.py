"""Mistakes to plant, each with a part of the sentence that the lint has to find for it."""

from tests.deploy.mistakes import edges, network, routing, watching, workload

MISTAKES = workload.MISTAKES | routing.MISTAKES | network.MISTAKES | watching.MISTAKES | edges.MISTAKES
