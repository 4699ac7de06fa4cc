"""Models on the Hugging Face Hub: names, what is asked of the hub, files that are fetched."""
