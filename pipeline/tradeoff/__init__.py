"""`ris-mvdr tradeoff`: F1 against ms a scene, trained and untrained, whole path and MVDR alone."""
