"""Attribution: which pixels, words and sounds an answer rests on."""
