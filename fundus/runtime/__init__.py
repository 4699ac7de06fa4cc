"""The process: threads, progress, forks, and the switches of TensorFlow, Keras and OpenCV."""
