"""Methods that score pairs of inputs: what two of them do together that neither does alone."""
