"""The process: threads, progress, forks, and settings of TensorFlow, Keras and OpenCV."""
