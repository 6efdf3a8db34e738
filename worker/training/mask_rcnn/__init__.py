"""Training of Mask R-CNN, from pictures with masks to weights in Matterport's layout.

`targets` says what the network should have answered (NumPy), `losses` how far off it was, `network` does one step of
learning, `fit` a run. `pictures` and `batches` make what it learns from.
"""
