"""`ris-mvdr validate`: checks the scenes on disk. The verdict is VALID or INVALID, with statistics.

With --measurements, it also checks whether measurements sent to a server resemble the training scenes.
"""
