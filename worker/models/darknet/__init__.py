"""The YOLOv3 family, from Darknet's own files.

`cfg` and `weights` read the files, `plan` checks that they make a network, `network` builds it in Keras,
`preprocess` and `decode` are what stands before and behind it, `detector` is the model that the worker uses.
Redmon and Farhadi, "YOLOv3: An Incremental Improvement", arXiv 1804.02767.
"""
