"""What measures speech: ``recognisers`` write it down, ``voices`` compares speakers, ``mos`` predicts ratings."""
