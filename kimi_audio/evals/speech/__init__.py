"""What measures speech: ``recognisers`` write it down, ``speakers`` compare voices, ``mos`` predicts ratings."""
