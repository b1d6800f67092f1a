"""What each precision costs: a trained network's files in all of them, on pictures held out."""
