"""Training of image classifiers: what a network has learnt of other pictures, taken over to one's own classes.

`crops` makes a data set of a folder a class from one with boxes, `pictures` reads, `augment` changes, `network` learns,
`fit` is a run, `export` writes what the service loads.
"""
