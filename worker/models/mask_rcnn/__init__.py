"""Mask R-CNN on a ResNet or a Darknet with a feature pyramid: boxes, and the pixels of each object.

He et al., "Mask R-CNN", arXiv 1703.06870; Lin et al., "Feature Pyramid Networks", arXiv 1612.03144; Ren et al.,
"Faster R-CNN", arXiv 1506.01497.

`plan` says what a network is made of; `trunk` and `heads` build its three parts in Keras; `weights_matterport` and
`weights_detectron2` read files. Between the parts stand `anchors`, `boxes`, `proposals`, `roi_align`, `selection` and
`paste`, in NumPy, SciPy and OpenCV; `roi_align_jax` does what `roi_align` does where the feature maps are on a GPU, and
`roi_align_ops` is the differentiable form for training. `stages` is all of it for a batch of images, `model` what the
worker uses.

Two published implementations differ in a hundred small things. The files of both load, and each is computed as its own
makers do: `plan.layout` says which. Within the networks everything has Matterport's names, shapes and orders; the
Detectron2 reader rearranges.

Boxes are left, top, right, bottom in pixels of the network's input. Matterport's code takes the right and bottom edge
of a box for the last pixel within instead of the first beyond; where that matters it is `plan.far_edge`.
"""
