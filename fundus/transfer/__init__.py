"""Transfer learning: `TransferClassifier` and `FeatureExtractor`."""
