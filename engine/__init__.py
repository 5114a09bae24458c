"""Everything of Oriel that runs headless. Nothing in here imports Qt, `app` or `widgets`."""
