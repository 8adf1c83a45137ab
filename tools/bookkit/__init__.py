"""The tooling behind the notebooks: reading their sources, making both editions, running them, reporting."""
