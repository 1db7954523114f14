"""One call on a pod: what its caller and its agent do becomes inputs, and what comes of them goes out."""
