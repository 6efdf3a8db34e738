"""Videos: decoded, looked at, tracked, drawn and encoded as a stream, in parts if there are many workers.

What is here knows no queue and no model: `probe` and `plan_segments` say what there is to do, `process_segment` does
one part with a function that finds objects in pictures, and `join` makes one result of all parts. A video that is not
split has one part: the same code gives the same result.
"""
