"""Maps of where on a photograph a model sees what it grades by."""
