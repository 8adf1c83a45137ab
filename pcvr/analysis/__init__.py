"""What the notebooks look at: how a model reads, decides and answers, with and without a trigger."""
