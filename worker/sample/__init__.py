"""The sample picture that the project ships: drawn by this program, photographed by nobody.

`figures` are people made of simple solids, `light` shows solids as a camera sees them, `street` is where they walk,
`search` tries seeds until the models that ship or are at hand find everybody. `python -m worker.sample` does it all.
"""
