"""What arrives with a source's symbols by other paths: searched, refined, and told as part of that source."""
