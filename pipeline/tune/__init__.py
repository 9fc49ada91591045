"""`ris-mvdr tune`: searches training options with a fast surrogate, then ranks the best ones by MVDR-final.

After a kill, the same command resumes. docs/tuning.md describes the stage, including studies on several machines.
"""
