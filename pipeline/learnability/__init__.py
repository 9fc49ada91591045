"""`python -m pipeline.learnability`: did a training learn anything? The verdict that costly stages ask for."""
