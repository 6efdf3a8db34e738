"""Training of detectors of the YOLOv3 family, from a data set to Darknet's `.cfg` and `.weights`."""
