"""How well one battery stands for many cars, on weeks it has not seen and on a feeder."""
