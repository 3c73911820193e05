"""Is this machine able? Each probe tries the thing itself, says one sentence, and has a remedy."""
