"""The stages of the sound side: flow matching, vocoder, codebook, and a voice of one's own."""
