"""Figures in scikit-learn's manner: made from an estimator or from predictions, then drawn."""
