"""Meta-estimators: ensembles of folds, cutpoints, calibration, sets of grades, a second stage."""
