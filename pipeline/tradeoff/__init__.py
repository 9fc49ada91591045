"""`ris-mvdr tradeoff`: measures F1 against ms per scene, trained and untrained, complete localizer and MVDR alone."""
