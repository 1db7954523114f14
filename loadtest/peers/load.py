"""The generator's runs as a comparison needs them: paced frames at one server, and its CPU over just that time."""
