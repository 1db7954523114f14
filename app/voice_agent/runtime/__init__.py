"""What keeps calls going: async, yet free of any framework, Redis and Prometheus."""
