"""The partition of the input space into regions: along lines, in planes, in any dimension, and its counting theory."""
