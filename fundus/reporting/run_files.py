"""Names of the files in the folder of a run."""

#: Written last: a run that has it is complete.
METRICS = "metrics.json"
OOF = "oof.csv"
MODEL = "model"
#: Digests of the training images; saved beside the model, so that a copy of the model has them.
TRAINING_IMAGES = "training_images.csv"
