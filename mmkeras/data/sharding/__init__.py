"""Tables as folders of TFRecord shards, written once and read by any model."""
