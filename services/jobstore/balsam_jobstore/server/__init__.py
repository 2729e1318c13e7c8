"""The edge: messages in, plain values to the verbs, messages out. Nothing else happens here."""
