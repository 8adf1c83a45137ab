"""Vision-language models of any family: loading, encoding, forward passes, generation and adapters."""
