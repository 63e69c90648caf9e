"""The files of a run folder by name, for those who look at one without training."""

RUN_FILE, EVENTS, MODEL, RESULT = "run.yaml", "events.jsonl", "model.safetensors", "result.json"
STATE = "state"
TRANSFER = "transfer.json"  # what fine-tuning from two starts came to, where somebody told
PAINTED = "painted"  # pictures of an autoencoder's test images
